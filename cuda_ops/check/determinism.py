"""Every op twice on a room: the same bits."""

from __future__ import annotations

import torch

from cuda_ops.check.cases import Scene, cast, make_data
from cuda_ops.check.parity import cases_for, same_bits
from cuda_ops.check.precision import CHECKED, allowing_tf32
from cuda_ops.check.section import Section, Table

CHANNELS = (32, 64)


def determinism_section(device: torch.device, num_points: int, repeats: int = 3) -> Section:
    """Run every op `repeats` times on the same input, forward and backward.

    Args:
        device: where.
        num_points: of the first of two clouds; the second has a quarter of them.
        repeats: runs of each op.
    """
    scene = Scene("two clouds", (num_points, num_points // 4), CHANNELS)
    data, found = make_data(scene), {}
    for precision in CHECKED[device.type]:
        given = cast(data, precision, device)
        with allowing_tf32(precision.tf32):
            for op, case in cases_for(scene, precision).items():
                first = case(given)
                others = [case(given) for _ in range(repeats - 1)]
                found[op, precision.name] = all(
                    same_bits(a, b) for other in others for a, b in zip(first, other, strict=True)
                )
    wrong = [[*names] for names, same in found.items() if not same]
    size = f"{len(data['x']):,} voxels, {CHANNELS[0]} and {CHANNELS[1]} channels"
    note = f"{len(found)} ops and types, {repeats} times each on {size}: {len(wrong)} differ."
    tables = (Table("", ["op", "types"], wrong),) if wrong else ()
    values = [{"op": op, "precision": name, "same": same} for (op, name), same in found.items()]
    return Section("Determinism", values, not wrong, tables, (note,))
