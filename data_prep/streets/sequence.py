"""A drive along a street, written as a sequence of SemanticKITTI."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data_prep.rooms.shapes import rotation_about
from data_prep.streets.course import Array
from data_prep.streets.ground import BLOCK, draw_ground
from data_prep.streets.layout import LAST_BLOCK, VIEW, Street, draw_street
from data_prep.streets.sensor import HEIGHT, Beams, LidarScan, Pose, scan
from pc3d.io.semantickitti import label_path, scan_path, sequence_folder

SPEED = 10.0  # metres of u per second
_STREAM = 200  # apart from the random streams of rooms
# From the sensor's frame (x forward, z up) to the left camera's (z forward, y down), as in KITTI.
_TO_CAMERA = np.array([[0, -1, 0, 0.0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1.0]])
_CAMERA = "7.188560e+02 0 6.071928e+02 {} 0 7.188560e+02 1.852157e+02 0 0 0 1 0"


@dataclass(frozen=True)
class Drive:
    """The scans of a sequence.

    Attributes:
        seed: of the set.
        sequence: its number.
        step: metres between scans.
    """

    seed: int
    sequence: int
    step: float

    def __post_init__(self) -> None:
        if not 0.01 <= self.step <= 100.0:
            raise ValueError(f"step must be in 0.01..100 metres; got {self.step}")

    def check_length(self, num_frames: int) -> None:
        """Raises ValueError where instance ids would not fit into 16 bits."""
        longest = int((LAST_BLOCK * BLOCK - VIEW) / self.step)
        if num_frames > longest:
            raise ValueError(
                f"sequence {self.sequence:02d} would have {num_frames} scans, {self.step} m apart; "
                f"expected at most {longest}. Ask for fewer scans or a smaller step"
            )

    @cached_property
    def street(self) -> Street:
        """What is driven along."""
        seeds = (self.seed, _STREAM + self.sequence)
        return draw_street(seeds, draw_ground(np.random.default_rng(seeds)), SPEED)

    def time(self, frame: int) -> float:
        """Seconds from the first scan."""
        return frame * self.step / SPEED

    def pose(self, frame: int) -> Pose:
        """Of the sensor, level with the road in the middle of the right lane."""
        ground = self.street.ground
        u, d = np.array([frame * self.step]), np.array([-ground.half_road / 2])
        position = np.array([*ground.course.point(u, d)[0], ground.height(u, d)[0] + HEIGHT])
        yaw, pitch = float(ground.course.heading(u)[0]), float(ground.course.pitch(u)[0])
        return Pose(position, rotation_about("z", yaw) @ rotation_about("y", -pitch))

    def scan(self, frame: int, beams: Beams) -> LidarScan:
        """Take one scan."""
        rng = np.random.default_rng((self.seed, _STREAM + self.sequence, 4, frame))
        things = self.street.things(frame * self.step, self.time(frame))
        return scan(rng, things, self.street.ground, self.pose(frame), beams)


def write_scan(root: Path, drive: Drive, frame: int, beams: Beams) -> int:
    """Write `velodyne/NNNNNN.bin` and `labels/NNNNNN.label`; returns the number of points."""
    name = f"{drive.sequence:02d}/{frame:06d}"
    result = drive.scan(frame, beams)
    labels = result.label + (result.instance << 16)
    for path, data in (
        (scan_path(root, name), result.points.astype("<f4")),
        (label_path(root, name), labels.astype("<u4")),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    return len(result.points)


def write_sequence(root: Path, drive: Drive, num_frames: int) -> None:
    """Write `poses.txt`, `calib.txt` and `times.txt`, and make the folders of the scans."""
    folder = sequence_folder(root, f"{drive.sequence:02d}")
    for kind in ("velodyne", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    first = np.linalg.inv(_matrix(drive.pose(0)) @ np.linalg.inv(_TO_CAMERA))
    frames = range(num_frames)
    poses = [first @ _matrix(drive.pose(k)) @ np.linalg.inv(_TO_CAMERA) for k in frames]
    _write_lines(folder / "poses.txt", [_row(pose) for pose in poses])
    cameras = [f"P{k}: {_CAMERA.format(shift)}" for k, shift in enumerate((0, -386.1448, 0, 0))]
    _write_lines(folder / "calib.txt", [*cameras, f"Tr: {_row(_TO_CAMERA)}"])
    _write_lines(folder / "times.txt", [f"{drive.time(k):e}" for k in frames])


def _matrix(pose: Pose) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = pose.rotation, pose.position
    return matrix


def _row(matrix: Array) -> str:
    return " ".join(f"{value:e}" for value in matrix[:3].ravel())


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
