"""What a search found, as tables and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table as RichTable

from pc3d.runs.table import Column, Table, to_csv
from pc3d.search.costs import COSTS
from pc3d.search.search import Errors, Found
from pc3d.search.targets import shown
from pc3d.utils.files import write_text
from visualize.runs_page import plot_of, write_runs_page

COLUMNS = {
    "latency": "latency_s",
    "memory": "memory_bytes",
    "macs": "macs",
    "parameters": "parameters",
}
"""Names of costs in files, and on the axis of the plot."""


def table_of(found: Sequence[Found], front: Sequence[Found], notes: Sequence[str]) -> Table:
    """All that was measured, in the order in which it was."""
    costs = [asdict(row.cost) for row in found]
    names = [row.arch.name for row in found]
    fronts = ["yes" if row in front else "" for row in found]

    def column(name: str, title: str, values: Sequence[float | int | None], unit: str) -> Column:
        cells = ["" if v is None else shown(unit, v) if unit else f"{v:.4f}" for v in values]
        return Column(name, title, tuple(values), tuple(cells))

    return Table(
        (
            Column("network", "network", tuple(names), tuple(names)),
            column("miou", "mIoU, held out", [row.miou for row in found], ""),
            *(column(COLUMNS[key], key, [cost[key] for cost in costs], key) for key in COSTS),
            column("maps_s", "maps", [cost["maps"] for cost in costs], "latency"),
            column("violation", "beyond targets", [row.violation for row in found], ""),
            Column("front", "front", tuple(fronts), tuple(fronts)),
        ),
        notes=tuple(notes),
    )


def write_search(folder: Path, title: str, table: Table, cost: str) -> list[Path]:
    """Write `evaluated.csv`, and `front.html` where something has a score."""
    written = [folder / "evaluated.csv"]
    write_text(written[0], to_csv(table))
    if table.column("miou").is_number:
        page = folder / "front.html"
        labels = table.column("network").cells
        plot = plot_of(table, COLUMNS[cost], "miou", labels, [True] * len(table))
        write_runs_page(page, title, table, plot=plot)
        written.append(page)
    return written


def table_of_best(best: Sequence[Found], front: Sequence[Found], rows: int) -> RichTable:
    """The best networks within the targets."""
    table = RichTable(title="best networks, measured")
    table.add_column("network")
    for name in ("mIoU, held out", *COSTS, "maps", "front"):
        table.add_column(name, justify="right")
    for found in best[:rows]:
        cost = asdict(found.cost)
        table.add_row(
            found.arch.name,
            f"{found.miou:.4f}",
            *(shown(key, cost[key]) for key in COSTS),
            shown("latency", cost["maps"]),
            "yes" if found in front else "",
        )
    return table


def error_lines(errors: Mapping[str, Errors], number: int) -> list[str]:
    """How well costs are predicted, a sentence for each."""
    return [
        f"{key}: predicted to {100 * min(error.model, error.table):.1f} % "
        f"(model {100 * error.model:.1f} %, additive table {100 * error.table:.1f} %; mean error "
        f"on held-out ones of {number} measured networks)"
        for key, error in errors.items()
    ]
