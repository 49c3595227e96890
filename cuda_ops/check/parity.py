"""Every op on a device against float64 on the CPU, and twice for repeatability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cuda_ops.check.cases import (
    CASES,
    FEATURE_CASES,
    Case,
    Data,
    Scene,
    cast,
    emptied,
    in_float64,
    make_data,
    permutations,
    permuted,
)
from cuda_ops.check.precision import CHECKED, FLOAT32, Precision, allowing_tf32
from cuda_ops.check.section import Section, Table

FORMULA = (
    "Bound on every element: eps |value| + 2 eps32 sqrt(n) max |value| for a sum of n terms in "
    "float32, with eps of the result's type; with tf32 also 2^-9 max |value|. Integers are equal. "
    "One wrong neighbour is off by about 0.1 max |value|."
)
TF32_ROUNDING = 2.0**-9  # two factors, each rounded to 10 bits


@dataclass(frozen=True)
class Parity:
    """What one op did on one scene.

    Attributes:
        op: its name.
        scene: the voxels.
        channels: of the inputs and outputs of layers.
        precision: types.
        error: largest difference to float64, relative to the largest value.
        of_bound: largest ratio of an element's difference to its bound; integers: how many differ.
        repeatable: two runs agree to the last bit.
    """

    op: str
    scene: str
    channels: tuple[int, int]
    precision: str
    error: float
    of_bound: float
    repeatable: bool

    @property
    def passed(self) -> bool:
        """Within the bound, and the same twice. Not a number is not within it."""
        return self.of_bound <= 1 and self.repeatable


def check_parity(device: torch.device, scenes: Sequence[Scene]) -> list[Parity]:
    """A row for each op, scene and precision."""
    rows = []
    for scene in scenes:
        made = make_data(scene)
        data = emptied(made) if scene.empty_tap else made
        for precision in CHECKED[device.type]:
            with allowing_tf32(precision.tf32):
                cases = cases_for(scene, precision).items()
                rows += [check_case(*case, data, scene, precision, device) for case in cases]
    return rows


def cases_for(scene: Scene, precision: Precision) -> dict[str, Case]:
    """The cases that a scene and a precision say something about."""
    if precision.tf32:
        return {name: case for name, case in FEATURE_CASES.items() if "conv" in name}
    if scene.permuted or precision != FLOAT32:
        return FEATURE_CASES
    return CASES | FEATURE_CASES


def check_case(
    op: str, case: Case, data: Data, scene: Scene, precision: Precision, device: torch.device
) -> Parity:
    """Run a case in float64 on the CPU, and twice on the device."""
    host = cast(data, precision, torch.device("cpu"))
    expected = case(in_float64(host))
    if scene.permuted:
        orders = permutations(data)
        expected = [reordered(result, orders) for result in expected]
        host = permuted(host, orders)
    given = {name: value.to(device) for name, value in host.items()}
    got, again = case(given), case(given)
    terms = max(len(data["feats"]), 27 * max(scene.channels))
    ratios = [of_bound(a, b, terms, precision.tf32) for a, b in zip(got, expected, strict=True)]
    return Parity(
        *(op, scene.name, scene.channels, precision.name),
        error=max(relative_error(a, b) for a, b in zip(got, expected, strict=True)),
        of_bound=max(ratios) if all(ratio == ratio for ratio in ratios) else float("nan"),
        repeatable=all(same_bits(a, b) for a, b in zip(got, again, strict=True)),
    )


def reordered(result: Tensor, orders: dict[str, Tensor]) -> Tensor:
    """A result with the rows of whichever kind it has as many of; other results as they are."""
    for order in orders.values():
        if len(order) == len(result):
            return result[order]
    return result


def of_bound(got: Tensor, expected: Tensor, terms: int, tf32: bool = False) -> float:
    """The largest ratio of an element's difference to the bound of `FORMULA`.

    Args:
        got: what the device gave, in any type.
        expected: float64 or integers of the same shape, on the CPU.
        terms: n.
        tf32: factors were rounded to 10 bits.

    Returns:
        At most 1 if all is well; infinite for another shape; for integers how many differ.
    """
    if (decided := _without_bound(got, expected)) is not None:
        return decided
    magnitude = expected.abs()
    accumulated = 2 * torch.finfo(torch.float32).eps * terms**0.5 + tf32 * TF32_ROUNDING
    bound = torch.finfo(got.dtype).eps * magnitude + accumulated * magnitude.max()
    difference = (got.double().cpu() - expected).abs()
    return float((difference / bound.clamp(min=torch.finfo(torch.float64).tiny)).max())


def relative_error(got: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest value; of integers, how many differ."""
    if (decided := _without_bound(got, expected)) is not None:
        return decided
    largest = expected.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return float((got.double().cpu() - expected).abs().max() / largest)


def _without_bound(got: Tensor, expected: Tensor) -> float | None:
    """How far off a result of the wrong shape, of integers, or of nothing is; None for others."""
    if got.shape != expected.shape:
        return float("inf")
    if not expected.is_floating_point():
        return float((got.cpu() != expected).sum())
    return None if expected.numel() else 0.0


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two results are equal to the last bit; not a number equals itself."""
    return bool(torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num()))


def parity_section(rows: Sequence[Parity]) -> Section:
    """The worst scene of each op and precision, and every row that fails."""
    tables = [Table("", ["op", "types", "error", "of its bound", ""], list(_worst(rows)))]
    failed = [row for row in rows if not row.passed]
    if failed:
        cells = [[*_names(row), *_numbers(row)] for row in failed]
        header = ["op", "types", "scene", "channels", "error", "of its bound", "repeats"]
        tables.append(Table("Failed", header, cells))
    values: list[dict[str, Any]] = [asdict(row) | {"passed": row.passed} for row in rows]
    scenes = dict.fromkeys(f"{row.scene} {row.channels[0]} x {row.channels[1]}" for row in rows)
    notes = (FORMULA, f"Scenes: {', '.join(scenes)}.")
    return Section("Parity with float64", values, not failed, tuple(tables), notes)


def _worst(rows: Sequence[Parity]) -> Iterator[list[str]]:
    groups: dict[tuple[str, str], list[Parity]] = {}
    for row in rows:
        groups.setdefault((row.op, row.precision), []).append(row)
    for (op, precision), found in groups.items():
        passed = all(row.passed for row in found)
        error, bound = (max(getattr(r, key) for r in found) for key in ("error", "of_bound"))
        yield [op, precision, f"{error:.1e}", f"{bound:.2f}", "pass" if passed else "**FAIL**"]


def _names(row: Parity) -> list[str]:
    return [row.op, row.precision, row.scene, f"{row.channels[0]} x {row.channels[1]}"]


def _numbers(row: Parity) -> list[str]:
    return [f"{row.error:.1e}", f"{row.of_bound:.2f}", "yes" if row.repeatable else "**no**"]
