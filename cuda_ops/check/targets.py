"""The bars for an H100, and whether the rows of a report meet them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuda_ops.check.kernels import ATTENTION, BACKWARD, CONV, FORWARD, MAPS, WEIGHT
from cuda_ops.check.rivals import BOTH, Duel
from cuda_ops.check.rivals import FORWARD as RIVAL_FORWARD
from cuda_ops.check.section import Section, Table
from cuda_ops.check.timings import Row

HALF = "bfloat16"
RIVAL = "spconv-triton"
SMALL, LARGE = "room 100k", "room 400k"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Results:
    """What targets are held against.

    Attributes:
        rows: of the kernels.
        duels: with other engines.
        networks: rows of `benchmarks.networks`.
    """

    rows: Sequence[Row] = ()
    duels: Sequence[Duel] = ()
    networks: Sequence[Mapping[str, Any]] = ()

    def microseconds(self, op: str, place: str, channels: int = 0) -> float | None:
        """The median of a kernel in bfloat16, or of a map."""
        precision = HALF if channels else "float32"
        for row in self.rows:
            if (row.op, row.place, row.channels, row.precision) == (op, place, channels, precision):
                return 1e3 * row.times.median
        return None

    def ratio(self, op: str, other: str, sizes: Iterable[tuple[str, int]]) -> float | None:
        """The largest of `op / other` over those sizes of which both are measured."""
        found = []
        for place, channels in sizes:
            a, b = (self.microseconds(name, place, channels) for name in (op, other))
            if a is not None and b is not None:
                found.append(a / b)
        return max(found, default=None)

    def against_rival(self, low: int, high: int) -> float | None:
        """The smallest `rival / ours` of a convolution of `low <= C <= high` in any type."""
        found = [
            d.ratios()[RIVAL]
            for d in self.duels
            if d.op in (RIVAL_FORWARD, BOTH) and low <= d.channels <= high and RIVAL in d.ratios()
        ]
        return min(found, default=None)

    def network(self, name: str, phase: str) -> dict[tuple[Any, ...], Mapping[str, Any]]:
        """Rows of a network by size and types."""
        rows = (r for r in self.networks if (r["network"], r["phase"]) == (name, phase))
        return {(row["size"], row["precision"]): row for row in rows}

    def step_ratio(self) -> float | None:
        """The largest ratio of a step of voxel_tr_a to one of minkunet_m."""
        ours, other = (self.network(n, "training step") for n in ("voxel_tr_a", "minkunet_m"))
        both = ours.keys() & other.keys()
        return max((ours[key]["ms"] / other[key]["ms"] for key in both), default=None)

    def inference_over_floor(self) -> float | None:
        """The largest ratio of inference of MinkUNet18A, maps included, to its layers' floors."""
        rows = self.network("minkunet18a", "inference with maps").values()
        return max((row["ms"] / row["floor_ms"] for row in rows), default=None)


@dataclass(frozen=True)
class Target:
    """A bar.

    Attributes:
        what: is measured.
        bar: the number.
        unit: `"us"` or `"x"`.
        found: the number that was measured, or None.
        at_least: more is better.
    """

    what: str
    bar: float
    unit: str
    found: Callable[[Results], float | None]
    at_least: bool = False

    @property
    def wanted(self) -> str:
        """The bar in words."""
        return f"{'>=' if self.at_least else '<='} {self.bar:g} {self.unit}"

    def verdict(self, results: Results) -> str:
        """`"met"`, `"missed"` or `"not measured"`."""
        value = self.found(results)
        if value is None:
            return NOT_MEASURED
        met = value >= self.bar if self.at_least else value <= self.bar
        return "met" if met else "missed"


SIZES = ((SMALL, 64), (LARGE, 128))
CONV_FORWARD, CONV_WEIGHT = f"{CONV} {FORWARD}", f"{CONV} {WEIGHT}"
ATTENTION_FORWARD, ATTENTION_BACKWARD = f"{ATTENTION} {FORWARD}", f"{ATTENTION} {BACKWARD}"
TARGETS = (
    Target(
        "submanifold convolution 3^3, bfloat16, room 100k, C=64",
        *(35.0, "us", lambda r: r.microseconds(CONV_FORWARD, SMALL, 64)),
    ),
    Target(
        "submanifold convolution 3^3, bfloat16, room 400k, C=128",
        *(380.0, "us", lambda r: r.microseconds(CONV_FORWARD, LARGE, 128)),
    ),
    Target(
        "weight gradient / forward at these two sizes, the larger",
        *(1.3, "x", lambda r: r.ratio(CONV_WEIGHT, CONV_FORWARD, SIZES)),
    ),
    Target(
        "codebook attention D=3, bfloat16, room 100k, C=128, gathering directly",
        *(160.0, "us", lambda r: r.microseconds(ATTENTION_FORWARD, SMALL, 128)),
    ),
    Target(
        "codebook attention D=3, bfloat16, room 100k, C=128, halo staged",
        *(45.0, "us", lambda r: r.microseconds(ATTENTION_FORWARD, SMALL, 128)),
    ),
    Target(
        "codebook attention backward / forward at that size",
        *(2.5, "x", lambda r: r.ratio(ATTENTION_BACKWARD, ATTENTION_FORWARD, ((SMALL, 128),))),
    ),
    Target(
        "all maps of a U-Net with 4 levels, room 400k",
        *(600.0, "us", lambda r: r.microseconds(MAPS, LARGE)),
    ),
    Target(
        "spconv-triton / ours, convolution with C <= 128, the smallest",
        *(1.5, "x", lambda r: r.against_rival(1, 128)),
        at_least=True,
    ),
    Target(
        "spconv-triton / ours, convolution with C = 256, the smallest",
        *(1.0, "x", lambda r: r.against_rival(256, 256)),
        at_least=True,
    ),
    Target(
        "training step of voxel_tr_a / of minkunet_m, the largest",
        *(1.3, "x", lambda r: r.step_ratio()),
    ),
    Target(
        "inference of MinkUNet18A with maps / sum of its layers' floors, the largest",
        *(2.0, "x", lambda r: r.inference_over_floor()),
    ),
)
"""Set before anything ran on a GPU; results are what a report says."""


def target_section(results: Results, is_gpu: bool) -> Section:
    """Every target with its verdict; on a CPU none is measured, whatever was timed."""
    held = results if is_gpu else Results()
    rows, values = [], []
    for target in TARGETS:
        value, verdict = target.found(held), target.verdict(held)
        shown = "-" if value is None else f"{value:.3g} {target.unit}"
        rows.append([target.what, target.wanted, shown, verdict])
        values.append(
            {"what": target.what, "wanted": target.wanted, "found": value, "verdict": verdict}
        )
    note = "The bars are for an H100."
    table = Table("", ["what", "bar", "found", "verdict"], rows)
    return Section("Targets", values, None, (table,), (note,))
