"""All runs side by side, and two of them weighed.

    pc3d runs [folder] [metric=val/miou_point] [out=runs.html]
    pc3d runs compare A B [split=test] [out=compare.json]
    pc3d runs table=results.jsonl x=seconds y=miou out=pareto.html

Keys of the table:
    folder: where run folders are, at any depth, or one of them (logs); also without `folder=`.
    metric: a number that runs logged (val/miou_point, val/iou/<class>, train/loss_epoch), taken
        from the epoch of best.ckpt, or that test.py measured (test/miou_point_tta13).
    group: seeds (one row for the seeds of a configuration: mean and sample standard deviation) or
        none.
    sort: a column; upwards, or downwards with a minus before it (default: the metric, downwards).
    out: a file to write instead of the console: .md, .html, .csv or .json.
    x, y: with an .html: columns of the Pareto plot (seconds and the metric); low x and high y are
        good.

With table=, a .csv or .jsonl file instead of runs; x and y have no default, and
    label: the column that names the points (default: the first one of texts).
    group: columns; rows that are alike in them become one, with means (default: none).

Keys of `compare A B`, two run folders, names of runs as the table shows them, or JSON files of
test.py:
    split: that both were tested on.
    metric: where there are tests of several protocols: test/miou_point_tta13.
    folder: where names are looked for.
    out: a JSON file to write beside.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable

from pc3d.cli.compare_runs import compare_runs
from pc3d.cli.errors import report_errors
from pc3d.cli.report import counted
from pc3d.runs.files import read_table
from pc3d.runs.grouping import Row, group_runs, measure
from pc3d.runs.history import MIOU
from pc3d.runs.reading import read_runs
from pc3d.runs.table import Column, Table, grouped, to_csv, to_markdown, to_records
from pc3d.runs.table_of_runs import table_of_runs
from pc3d.utils.files import write_json, write_text
from visualize.runs_page import curves_of, plot_of, write_runs_page

log = logging.getLogger(__name__)

DEFAULTS = {
    "folder": "logs",
    "metric": MIOU,
    "group": "",
    "sort": "",
    "out": "",
    "x": "",
    "y": "",
    "table": "",
    "label": "",
}
COMPARE_DEFAULTS = {"folder": "logs", "split": "test", "metric": "", "out": ""}
_SUFFIXES = (".md", ".html", ".csv", ".json")
_MAX_CONFIG_COLUMNS = 6
_LESS_WANTED = ("steps", "gpu_memory_mib", "epochs", "commit", "memory_mib")
"""Columns that a narrow console does without, the first one first."""
_FILE_WIDTH = 160
"""Characters of a line where the console is a file."""
_ONLY_RUNS = ("folder", "metric")


def parse(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Read `key=value` arguments.

    Raises:
        ValueError: an argument without `=` or an unknown key.
    """
    values = dict(defaults)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in defaults:
            raise ValueError(
                f"{argument!r} is not key=value with one of {', '.join(defaults)}; "
                "`pc3d runs --help` says what they are"
            )
        values[key] = value
    return values


def check(values: Mapping[str, str], given: set[str]) -> None:
    """Refuse keys that do not go together.

    Raises:
        ValueError: says which.
    """
    out = Path(values["out"])
    if values["out"] and out.suffix not in _SUFFIXES:
        raise ValueError(f"out={out} must end in one of {', '.join(_SUFFIXES)}")
    if (values["x"] or values["y"]) and out.suffix != ".html":
        raise ValueError("x= and y= draw a plot, which needs a page: out=runs.html")
    useless = given & {*_ONLY_RUNS} if values["table"] else given & {"label"}
    if useless:
        kind = "of runs, not of table=" if values["table"] else "of table=, not of runs"
        raise ValueError(f"{', '.join(sorted(useless))}: a key {kind}")
    if not values["table"] and values["group"] not in ("", "seeds", "none"):
        raise ValueError(f"group={values['group']}: expected seeds or none")


def list_runs(values: Mapping[str, str], console: Console) -> None:
    """The table of the runs of a folder, on the console or in a file."""
    runs, problems = read_runs(Path(values["folder"]).expanduser())
    metric = values["metric"]
    scores, notes = measure(runs, metric)
    rows, doubts = group_runs(runs, scores, by_seed=values["group"] != "none")
    table, order = table_of_runs(rows, metric, [*notes, *doubts]).sorted_by(
        values["sort"] or f"-{metric}"
    )
    rows = [rows[i] for i in order]
    if Path(values["out"]).suffix == ".html":
        _write_page(values, table, rows, problems)
    else:
        _write(values["out"], table, console)
    for problem in problems:
        log.warning("warning: %s", problem)
    if values["out"]:
        written = f"{counted(len(runs), 'run')} in {counted(len(rows), 'row')}"
        console.print(f"{values['out']}: {written}", soft_wrap=True)


def _write_page(
    values: Mapping[str, str], table: Table, rows: Sequence[Row], problems: Sequence[str]
) -> None:
    metric = values["metric"]
    finished = [row.runs[0].training.state == "finished" for row in rows]
    asked = bool(values["x"] or values["y"])
    x, y = values["x"] or "seconds", values["y"] or metric
    known = {column.name for column in table.columns if column.is_number}
    labels = table.column("run").cells
    plot = plot_of(table, x, y, labels, finished) if asked or {x, y} <= known else None
    write_runs_page(
        values["out"],
        f"Runs in {values['folder']}",
        table,
        curves=curves_of(rows, metric),
        plot=plot,
        problems=problems,
    )


def show_table(values: Mapping[str, str], console: Console) -> None:
    """A table of a file, on the console or in another file, grouped, sorted, drawn."""
    path = Path(values["table"]).expanduser()
    table = read_table(path)
    names = [name.strip() for name in values["group"].split(",")]
    if values["group"] in ("", "none"):
        names = [column.name for column in table.columns if not column.is_number][:1]
    else:
        table = grouped(table, names)
    names = [values["label"]] if values["label"] else names
    if values["sort"]:
        table, _ = table.sorted_by(values["sort"])
    if Path(values["out"]).suffix != ".html":
        _write(values["out"], table, console)
        return
    if not (values["x"] and values["y"]):
        numbers = ", ".join(c.name for c in table.columns if c.is_number and c.shown)
        raise ValueError(f"say what to plot: x=... y=... with columns of numbers: {numbers}")
    cells = [table.column(name).cells for name in names]
    labels = [", ".join(parts) for parts in zip(*cells, strict=True)]
    labels = labels or [str(i + 1) for i in range(len(table))]
    plot = plot_of(table, values["x"], values["y"], labels, [True] * len(table))
    write_runs_page(values["out"], path.name, table, plot=plot, labels=labels)
    console.print(f"{values['out']}: {counted(len(table), 'row')}", soft_wrap=True)


def _write(out: str, table: Table, console: Console) -> None:
    path = Path(out).expanduser()
    if not out:
        _print(table, console)
    elif path.suffix == ".md":
        write_text(path, to_markdown(table))
    elif path.suffix == ".csv":
        write_text(path, to_csv(table))
    else:
        write_json(path, {"rows": to_records(table), "notes": list(table.notes)})


def _print(table: Table, console: Console) -> None:
    """What of the table fits on the console, and what is left out."""
    config = [column.name for column in table.columns if column.is_config]
    shown = [column for column in table.columns if column.shown]
    left_out = []
    for name in (*config[: _MAX_CONFIG_COLUMNS - 1 : -1], *_LESS_WANTED, *reversed(config)):
        too_many = sum(column.is_config for column in shown) > _MAX_CONFIG_COLUMNS
        if too_many or _width(shown) > console.width:
            left_out += [column.name for column in shown if column.name == name]
            shown = [column for column in shown if column.name != name]
    found = RichTable()
    for column in shown:
        justify: JustifyMethod = "right" if column.is_number else "left"
        found.add_column(column.title, justify=justify, overflow="fold")
    for i in range(len(table)):
        found.add_row(*(column.cells[i] for column in shown))
    console.print(found)
    for note in table.notes:
        console.print(note, soft_wrap=True)
    if left_out:
        names = ", ".join(left_out)
        console.print(f"no room for {names}; out=runs.md shows all", soft_wrap=True)


def _width(columns: Sequence[Column]) -> int:
    """Of a table in characters, with its lines."""
    return 1 + sum(3 + max(map(len, (column.title, *column.cells))) for column in columns)


@report_errors
def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = sys.argv[1:]
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _FILE_WIDTH)
    if {"-h", "--help"} & {*arguments}:
        sys.stdout.write(__doc__ or "")
    elif arguments[:1] == ["compare"]:
        runs = [argument for argument in arguments[1:] if "=" not in argument]
        keys = [argument for argument in arguments[1:] if "=" in argument]
        compare_runs(runs, parse(keys, COMPARE_DEFAULTS), console)
    else:
        if arguments and "=" not in arguments[0]:
            arguments[0] = f"folder={arguments[0]}"
        values = parse(arguments, DEFAULTS)
        check(values, {argument.partition("=")[0] for argument in arguments})
        (show_table if values["table"] else list_runs)(values, console)


if __name__ == "__main__":
    main()
