"""A tested split at once: `pc3d gallery run=<run folder> [split=test] [cell=chair:table]`.

Keys:
    run: a run folder that test.py has tested; its newest test is shown.
    split: the split that was tested (test).
    sort: miou (lowest first) or name: the order that the page opens with (miou).
    cell: <true class>:<predicted class>: the scenes with most points of the one that were taken for
        the other come first, on the page and on the console.
    max_scenes: scenes with pictures; of more the worst ones (60). The confusion matrix has all.
    out: the page to write, .html (gallery.html).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pc3d.cli.errors import report_errors
from pc3d.cli.report import counted
from visualize.gallery import write_gallery
from visualize.split_counts import SORTS, Cell, TestedSplit, count_split, order_of

DEFAULTS = {
    "run": "",
    "split": "test",
    "sort": "",
    "cell": "",
    "max_scenes": "60",
    "out": "gallery.html",
}
_MAX_LISTED = 10


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Read `key=value` arguments.

    Raises:
        ValueError: an argument without `=`, an unknown key, no run, or values that cannot be meant.
    """
    values = dict(DEFAULTS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in DEFAULTS:
            raise ValueError(
                f"{argument!r} is not key=value with one of {', '.join(DEFAULTS)}; "
                "`pc3d gallery --help` says what they are"
            )
        values[key] = value
    if not values["run"]:
        raise ValueError("say which run to show: pc3d gallery run=<run folder>")
    if values["sort"] not in ("", *SORTS):
        raise ValueError(f"sort={values['sort']} must be one of {', '.join(SORTS)}")
    if values["sort"] and values["cell"]:
        raise ValueError("sort= and cell= are two orders of the scenes: give one of them")
    if not values["max_scenes"].isdecimal() or not int(values["max_scenes"]):
        raise ValueError(f"max_scenes={values['max_scenes']} is not a number of scenes from 1")
    if Path(values["out"]).suffix != ".html":
        raise ValueError(f"out={values['out']} must end in .html")
    return values


def show(values: Mapping[str, str], console: Console) -> None:
    """Write the page that the parsed arguments ask for; says what is on it."""
    folder = Path(values["run"]).expanduser()
    split, cell = count_split(folder, values["split"], values["cell"])
    shown = write_gallery(
        values["out"],
        split,
        sort=values["sort"] or "miou",
        cell=cell,
        max_scenes=int(values["max_scenes"]),
    )
    if cell is not None:
        print_cell(split, cell, console)
    total = counted(len(split.scenes), "scene")
    line = f"{values['out']}: {f'{shown:,} of ' if shown < len(split.scenes) else ''}{total}"
    if split.has_labels:
        line += f"; mIoU of the split {100 * split.scores.miou:.2f} %"
    else:
        line += "; no labels, so no scores and no confusion matrix"
    console.print(line, soft_wrap=True)


def print_cell(split: TestedSplit, cell: Cell, console: Console) -> None:
    """The scenes with most points in a cell."""
    truth, prediction = (split.spec.class_names[c] for c in cell)
    counts = split.in_cell(cell)
    order = [i for i in order_of(split, "miou", cell) if counts[i][0]]
    points, whole = (sum(parts) for parts in zip(*counts, strict=True))
    share = f", {100 * points / whole:.1f} % of all {truth}" if whole else ""
    console.print(
        f"{truth} taken for {prediction}: {counted(points, 'point')}{share}, in {len(order):,} of "
        f"{counted(len(counts), 'scene')}",
        soft_wrap=True,
    )
    if not order:
        return
    table = Table()
    table.add_column("scene", overflow="fold")
    for name in ("points", f"% of its {truth}", "mIoU %"):
        table.add_column(name, justify="right")
    for i in order[:_MAX_LISTED]:
        part, of = counts[i]
        scene = split.scenes[i]
        table.add_row(scene.name, f"{part:,}", f"{100 * part / of:.1f}", f"{100 * scene.miou:.1f}")
    console.print(table)
    if len(order) > _MAX_LISTED:
        console.print(f"... and {counted(len(order) - _MAX_LISTED, 'scene')} more")


@report_errors
def main() -> None:
    """The program."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = sys.argv[1:]
    if not arguments or {"-h", "--help"} & {*arguments}:
        sys.stdout.write(__doc__ or "")
        return
    show(parse(arguments), Console(markup=False, highlight=False))


if __name__ == "__main__":
    main()
