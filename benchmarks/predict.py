"""Labelling one large LAZ file: `python -m benchmarks.predict points=20000000 [device=cuda]`.

The file is made up, 20 points to the square metre of hills with houses and trees, written part by
part. `pc3d predict` then labels it in a process of its own, whose largest resident memory is
reported beside the time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import laspy
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.options import count, values_of
from cuda_ops.check.devices import device_of

DEFAULTS = {"points": "20000000", "ckpt": "als-s", "device": "cpu"}
_DENSITY = 20.0  # points per square metre
_PART = 1_000_000
_CELL = 40.0  # metres: every cell has a house or a tree


class Cost(NamedTuple):
    """Seconds, and bytes of memory at most."""

    seconds: float
    memory: int


def write_scan(path: Path, num_points: int) -> None:
    """Write an airborne scan of hills, houses and trees, with two returns of some pulses.

    Args:
        path: the `.laz` file.
        num_points: P.
    """
    rng = np.random.default_rng(0)
    side = float(np.sqrt(num_points / _DENSITY))
    header = laspy.LasHeader(version="1.4", point_format=6)
    header.scales, header.offsets = [0.001] * 3, [770_000.0, 6_277_000.0, 0.0]
    with laspy.open(path, "w", header=header) as file:
        for start in range(0, num_points, _PART):
            num = min(_PART, num_points - start)
            # Strips from south to north, as they are flown.
            low, high = start / num_points * side, (start + num) / num_points * side
            xy = rng.uniform((0, low), (side, high), (num, 2))
            height, is_tree = _height(xy, rng)
            part = laspy.ScaleAwarePointRecord.zeros(num, header=header)
            part.x, part.y = xy[:, 0] + 770_000, xy[:, 1] + 6_277_000
            part.z = 20 * np.sin(xy[:, 0] / 150) * np.cos(xy[:, 1] / 200) + height + 100
            part.number_of_returns = 1 + is_tree
            part.return_number = 1 + is_tree * rng.integers(0, 2, num)
            file.write_points(part)


def _height(
    xy: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """[P] metres above the hills, and whether a tree is there."""
    cell, place = np.divmod(xy, _CELL)
    place -= _CELL / 2
    has_house = (cell.sum(axis=1) % 2).astype(bool)
    is_house = has_house & (np.abs(place) < (10, 6)).all(axis=1)
    distance = np.hypot(*place.T)
    is_tree = ~has_house & (distance < 6)
    crown = 12 - distance**2 / 6
    height = np.where(is_house, 6.0, 0.0)
    height[is_tree] = (crown * np.sqrt(rng.random(len(xy))))[is_tree]
    return height + rng.normal(0, 0.03, len(xy)), is_tree


def label(source: Path, target: Path, ckpt: str, device: torch.device) -> Cost:
    """Run `pc3d predict` on a file, on a device.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    arguments = [
        "predict",
        f"ckpt={ckpt}",
        f"input={source}",
        f"output={target}",
        f"device={device}",
    ]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pc3d.cli", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), arguments)
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024)


def main(arguments: Sequence[str]) -> int:
    """Write, label, report; returns the exit status."""
    console = Console(markup=False, soft_wrap=True)
    try:
        values = values_of(arguments, DEFAULTS)
        num_points, device = count("points", values["points"]), device_of(values["device"])
    except ValueError as error:
        console.print(str(error))
        return 2
    with TemporaryDirectory() as folder:
        source = Path(folder) / "scan.laz"
        write_scan(source, num_points)
        size = source.stat().st_size
        cost = label(source, Path(folder) / "labelled.laz", values["ckpt"], device)
    console.print(
        f"{num_points:,} points in {size / 1e6:.0f} MB of LAZ: {cost.seconds:.0f} s, "
        f"{cost.memory / 2**30:.2f} GiB of memory at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
