"""The table of runs: where they differ, what they score, how far they came, what they took."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from pc3d.runs.grouping import Row
from pc3d.runs.reading import Run
from pc3d.runs.table import Column, Table, files_only, plain, texts


def table_of_runs(rows: Sequence[Row], metric: str, notes: Sequence[str] = ()) -> Table:
    """The table of runs, in the order of the rows.

    Args:
        rows: of `group_runs`.
        metric: what they were scored with.
        notes: what else should be known.
    """
    columns = [texts("run", [_names(row.names) for row in rows])]
    columns += [files_only("runs", [" ".join(row.names) for row in rows])]
    for key in rows[0].config if rows else ():
        values = [plain(row.config[key]) for row in rows]
        cells = tuple(_config_cell(key, row.config[key]) for row in rows)
        columns.append(Column(key, key, tuple(values), cells, is_config=True))
    columns.append(
        Column(metric, metric, tuple(row.mean for row in rows), tuple(map(_score_cell, rows)))
    )
    columns.append(files_only(f"{metric} std", [row.std for row in rows]))
    columns.append(files_only("n", [len(row.values) for row in rows]))
    protocol, legend = _protocols(rows)
    columns += protocol
    columns.append(texts("state", [_state(row) for row in rows]))
    columns.append(_epochs(rows))
    columns.append(_span("steps", rows, lambda run: run.training.steps))
    columns.append(texts("seeds", [_joined(run.seed for run in row.runs) for row in rows]))
    columns.append(texts("commit", [_joined(run.commit for run in row.runs) for row in rows]))
    columns.append(_mean("seconds", "time", rows, lambda run: run.training.seconds, duration))
    columns.append(_mean("memory_mib", "memory", rows, lambda run: run.training.memory, mebibytes))
    gpu = _mean("gpu_memory_mib", "GPU memory", rows, lambda r: r.training.gpu_memory, mebibytes)
    columns.append(gpu)
    if any(row.std is not None for row in rows):
        legend.append("a ± b (n=c): mean and sample standard deviation over c seeds")
    failed = [
        f"{name} failed: {run.training.error}"
        for row in rows
        for name, run in zip(row.names, row.runs, strict=True)
        if run.training.error
    ]
    kept = [column for column in columns if column.name in ("run", metric) or _says(column)]
    return Table(tuple(kept), (*legend, *notes, *failed))


def duration(seconds: float) -> str:
    """`"9.5 s"`, `"12.0 min"`, `"3.4 h"`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def mebibytes(mib: float) -> str:
    """`"512 MiB"`, `"3.4 GiB"`."""
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def _says(column: Column) -> bool:
    """Whether a column has anything to say."""
    silent = ("finished",) if column.name == "state" else (None, "")
    return any(value not in silent for value in column.values)


def _span(name: str, rows: Sequence[Row], value: Callable[[Run], int | None]) -> Column:
    """The largest of a row's values; both ends where they differ."""
    found = [row.known(value) for row in rows]
    cells = [
        "" if not f else f"{max(f)}" if min(f) == max(f) else f"{min(f)} to {max(f)}" for f in found
    ]
    return Column(name, name, tuple(max(f, default=None) for f in found), tuple(cells))


def _mean(
    name: str,
    title: str,
    rows: Sequence[Row],
    value: Callable[[Run], float | None],
    text: Callable[[float], str],
) -> Column:
    """The mean of the values that are known."""
    found = [row.known(value) for row in rows]
    means = [fmean(numbers) if numbers else None for numbers in found]
    return Column(
        name, title, tuple(means), tuple("" if mean is None else text(mean) for mean in means)
    )


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _joined(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys("" if value is None else str(value) for value in values))


def _state(row: Row) -> str:
    changes = row.runs[0].changes
    return row.runs[0].training.state + (f", continued with {' '.join(changes)}" * bool(changes))


def _epochs(rows: Sequence[Row]) -> Column:
    """With the planned number where a training has not come so far."""
    column = _span("epochs", rows, lambda run: run.training.epochs)
    cells = []
    for row, cell in zip(rows, column.cells, strict=True):
        planned = row.runs[0].config.get("trainer.max_epochs")
        short = (
            row.runs[0].training.state != "finished" and isinstance(planned, int) and planned > 0
        )
        cells.append(f"{cell or 0} of {planned}" if short else cell)
    return replace(column, cells=tuple(cells))


def _protocols(rows: Sequence[Row]) -> tuple[list[Column], list[str]]:
    """A column of letters and what they mean; one sentence where the protocol is the same."""
    words = {row.scores[0].key: row.protocol for row in rows if row.protocol}
    if len(words) < 2:
        return [], list(words.values())
    letters = {key: _letter(i) for i, key in enumerate(words)}
    column = texts("protocol", [letters.get(row.scores[0].key, "") for row in rows])
    alike = Counter(words.values())
    legend = [
        f"protocol {letters[key]}: {text}{_details(key, words) if alike[text] > 1 else ''}"
        for key, text in words.items()
    ]
    return [column], [*legend, "scores under different protocols do not compare"]


def _details(key: str, others: Iterable[str]) -> str:
    """What of a protocol is other than in others that have the same words."""
    protocol, all_of_them = _fields(key), [_fields(other) for other in others]
    differing = [
        name for name in protocol if any(o.get(name) != protocol[name] for o in all_of_them)
    ]
    return "".join(f"; {name} {json.dumps(protocol[name])}" for name in differing)


def _fields(key: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(json.loads(key)[0])
    return fields


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else str(number)


def _score_cell(row: Row) -> str:
    if row.mean is None:
        return ""
    if row.std is None:
        return f"{row.mean:.4f}"
    return f"{row.mean:.4f} ± {row.std:.4f} (n={len(row.values)})"


def _config_cell(key: str, value: object) -> str:
    if key.endswith("_target_"):
        return str(value).rsplit(".", 1)[-1]
    return value if isinstance(value, str) else json.dumps(value, default=str)
