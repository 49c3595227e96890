"""Profiles as tables for the console."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from pc3d.profiling import Cost, Profile
from pc3d.profiling.budget import Trial

MIB = 2**20


def table_of_modules(found: Profile, depth: int, title: str) -> Table:
    """A row for each module down to a depth, with all that is within it; 0 shows all."""
    table = Table("module", "kind", title=title)
    for name in (
        "weights",
        "M MACs",
        "infer, ms",
        "of it maps",
        "forward, ms",
        "backward, ms",
        "held, MiB",
        "maps, MiB",
    ):
        table.add_column(name, justify="right")
    for name, kind in found.kinds.items():
        level = name.count(".") + 1 if name else 0
        cost = found.within(name)
        if (not depth or level <= depth) and cost != Cost():
            label = "  " * level + (name.rpartition(".")[2] or "network")
            table.add_row(label, kind, *_cells(cost))
    table.add_row("loss", "", *_cells(found.outside))
    table.add_section()
    table.add_row("parts", "", *_cells(found.parts))
    totals = found.totals
    whole = f"{1e3 * totals.inference:.1f}", "", f"{1e3 * totals.forward:.1f}"
    table.add_row("whole", "", "", "", *whole, f"{1e3 * totals.backward:.1f}", "", "")
    return table


def _cells(cost: Cost) -> list[str]:
    seconds = cost.inference + cost.maps, cost.maps, cost.forward, cost.backward
    return [
        f"{cost.parameters:,}",
        f"{1e-6 * cost.macs:,.1f}",
        *(f"{1e3 * value:.1f}" for value in seconds),
        f"{cost.held / MIB:.1f}",
        f"{cost.map_bytes / MIB:.1f}",
    ]


def agreement(found: Profile) -> str:
    """How far the parts can be trusted, and what the whole needs."""
    parts, totals = found.parts, found.totals
    shares = {
        "inference": (parts.inference + parts.maps) / totals.inference,
        "forward": parts.forward / totals.forward,
        "backward": parts.backward / totals.backward,
    }
    said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return (
        f"whole: passes that were not looked into; the parts sum to {said} of them "
        f"(inference with maps {1e3 * totals.inference:.1f} ms).\n"
        f"a training step: {1e-9 * totals.training_macs:.2f} G MACs. Memory at most, beside "
        f"weights and batch: {totals.inference_peak / MIB:.1f} MiB in inference, "
        f"{totals.training_peak / MIB:.1f} MiB in training."
    )


def table_of_sweep(key: str, rows: Sequence[tuple[Any, Profile]]) -> Table:
    """A row for each value, and below how fast costs grow, where values are numbers."""
    table = Table(key, title=f"sweep over {key}")
    columns = [[cell(found) for cell in _SWEPT.values()] for _, found in rows]
    for name in _SWEPT:
        table.add_column(name, justify="right")
    for (value, _), cells in zip(rows, columns, strict=True):
        table.add_row(str(value), *(f"{cell:,.1f}" for cell in cells))
    values = [found.num_voxels if key == "voxels" else value for value, found in rows]
    powers = [_power(values, column) for column in zip(*columns, strict=True)]
    if any(powers):
        table.add_section()
        table.add_row("grows as", *(f"^{power:.2f}" if power else "" for power in powers))
    return table


_SWEPT = {
    "voxels": lambda found: found.num_voxels,
    "k weights": lambda found: 1e-3 * found.parts.parameters,
    "M MACs": lambda found: 1e-6 * found.parts.macs,
    "infer, ms": lambda found: 1e3 * found.totals.inference,
    "of it maps": lambda found: 1e3 * found.parts.maps,
    "forward, ms": lambda found: 1e3 * found.totals.forward,
    "backward, ms": lambda found: 1e3 * found.totals.backward,
    "infer, MiB": lambda found: found.totals.inference_peak / MIB,
    "train, MiB": lambda found: found.totals.training_peak / MIB,
}


def _power(values: Sequence[Any], costs: Sequence[float]) -> float | None:
    """The slope of the line through logarithms, by least squares; None where there is none."""
    if not all(isinstance(v, (int, float)) and v > 0 for v in values) or min(costs) <= 0:
        return None
    x, y = [math.log(v) for v in values], [math.log(c) for c in costs]
    spread = sum((a - sum(x) / len(x)) ** 2 for a in x)
    if spread == 0:
        return None
    return sum((a - sum(x) / len(x)) * b for a, b in zip(x, y, strict=True)) / spread


def tables_of_budget(budget: float, found: Mapping[str, Sequence[Trial]]) -> Table:
    """The scenes that were tried, the largest that fits last."""
    table = Table("", title=f"largest scene in {budget:g} GiB of tensors, weights included")
    for name in ("voxels", "expected, GiB", "measured, GiB"):
        table.add_column(name, justify="right")
    for kind, trials in found.items():
        for trial in trials:
            mark = f"{kind}: fits" if trial is trials[-1] else f"{kind}: tried"
            expected = f"{trial.expected / 2**30:.3f}" if trial.expected else ""
            table.add_row(mark, f"{trial.num_voxels:,}", expected, f"{trial.need / 2**30:.3f}")
    return table
