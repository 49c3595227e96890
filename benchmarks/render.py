"""Time of one picture: `python -m benchmarks.render points=2000000 width=1000 height=800 runs=3`.

The time is that of the processor: pictures are drawn by one thread, and other work on the machine
should not count. Beside it stands that of NumPy's argsort of as many float64, in the same run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.clouds import BEAMS, POINTS_PER_VOXEL, room_points, sweep_points
from benchmarks.options import count, values_of
from visualize.palette import ramp_colors
from visualize.render import encode_png, render

DEFAULTS = {"points": "2000000", "width": "1000", "height": "800", "runs": "3"}


class Timing(NamedTuple):
    """Median seconds of the processor for a cloud of P points: for the PNG, and for the sort."""

    num_points: int
    picture: float
    sort: float


def time_picture(xyz: NDArray[np.float32], size: tuple[int, int], runs: int) -> Timing:
    """Draw and sort in turns.

    Args:
        xyz: [P, 3] metres.
        size: width and height in pixels.
        runs: of both.
    """
    colors = ramp_colors(xyz[:, 2])
    numbers = np.random.default_rng(0).random(len(xyz))
    pictures, sorts = [], []
    for _ in range(runs):
        sorts.append(_seconds(lambda: np.argsort(numbers)))
        pictures.append(_seconds(lambda: encode_png(render(xyz, [colors], size=size))))
    return Timing(len(xyz), median(pictures), median(sorts))


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main(arguments: Sequence[str]) -> int:
    """Time pictures of a room and of a LiDAR sweep; returns the exit status."""
    console = Console(markup=False)
    try:
        values = values_of(arguments, DEFAULTS)
        points, width, height, runs = (count(key, value) for key, value in values.items())
    except ValueError as error:
        console.print(str(error), soft_wrap=True)
        return 2
    clouds = {
        "indoor": room_points(max(1, points // POINTS_PER_VOXEL)),
        "lidar": sweep_points(max(1, points // BEAMS)),
    }
    table = Table("cloud", "points", "picture s", "argsort s", "picture / argsort")
    for name, xyz in clouds.items():
        timing = time_picture(xyz.numpy(), (width, height), runs)
        ratio = timing.picture / max(timing.sort, 1e-9)
        numbers = f"{timing.picture:.2f}", f"{timing.sort:.2f}", f"{ratio:.1f}"
        table.add_row(name, f"{timing.num_points:,}", *numbers)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
