"""Tiny scenes, and data sets on disk in their released layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.sample import PointSample
from pc3d.io.ply import write_vertices

MakeScene = Callable[..., PointSample]


@pytest.fixture
def make_scene() -> MakeScene:
    """A lopsided cloud with every field; keyword arguments replace fields."""

    def make(num_points: int = 200, seed: int = 0, **fields) -> PointSample:
        rng = np.random.default_rng(seed)
        normal = rng.standard_normal((num_points, 3))
        sample = PointSample(
            name="scene",
            xyz=(rng.random((num_points, 3)) * [4, 3, 2] + [1, -5, 0.5]).astype(np.float32),
            origin=np.array([100.0, 200.0, 300.0]),
            row=np.arange(num_points),
            color=rng.uniform(20, 180, (num_points, 3)).astype(np.float32),
            normal=(normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
            intensity=rng.random(num_points, dtype=np.float32),
            returns=np.resize(np.float32([[1, 1], [1, 3], [2, 3], [5, 9]]), (num_points, 2)),
            segment=rng.integers(-1, 5, num_points),
        )
        return sample.with_(**fields)

    return make


def _write_scannet_scene(
    folder: Path, scene: str, num_points: int = 60, labels: np.ndarray | None = None, seed: int = 0
) -> None:
    """A scene in the released layout; `labels` are NYU40 ids, None writes no label file."""
    rng = np.random.default_rng(seed)
    directory = folder / scene
    directory.mkdir(parents=True, exist_ok=True)
    xyz = rng.random((num_points, 3), dtype=np.float32) * 2
    vertices = {axis: xyz[:, i] for i, axis in enumerate("xyz")}
    for channel in ("red", "green", "blue", "alpha"):
        vertices[channel] = rng.integers(0, 256, num_points).astype(np.uint8)
    write_vertices(directory / f"{scene}_vh_clean_2.ply", vertices)
    if labels is not None:
        path = directory / f"{scene}_vh_clean_2.labels.ply"
        write_vertices(path, {**vertices, "label": labels.astype(np.uint16)})


@pytest.fixture
def write_scannet_scene() -> Callable[..., None]:
    return _write_scannet_scene


@pytest.fixture
def scannet_root(tmp_path: Path) -> Path:
    """Two training scenes, one of validation, one of test without labels."""
    root = tmp_path / "scannet"
    ids = np.array([1, 2, 39, 0, 40, 13])
    for number, scene in enumerate(("scene0000_00", "scene0001_01", "scene0011_00")):
        _write_scannet_scene(
            root / "scans", scene, 60 + number, np.resize(ids, 60 + number), number
        )
    _write_scannet_scene(root / "scans_test", "scene0707_00", seed=9)
    return root


def _write_kitti_scan(
    root: Path, sequence_folder: str, frame: str, points: np.ndarray, labels: np.ndarray | None
) -> None:
    for kind, suffix, array in (("velodyne", "bin", points), ("labels", "label", labels)):
        if array is not None:
            path = root / sequence_folder / kind / f"{frame}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            array.astype("<f4" if kind == "velodyne" else "<u4").tofile(path)


@pytest.fixture
def write_kitti_scan() -> Callable[..., None]:
    return _write_kitti_scan


@pytest.fixture
def kitti_root(tmp_path: Path) -> Path:
    """Sequences 00 (3 scans), 08 (1 scan), 11 (1 scan without labels), and the folder extra."""
    root = tmp_path / "kitti"
    rng = np.random.default_rng(0)
    scans = [("sequences/00", f"00000{i}") for i in range(3)]
    scans += [("sequences/08", "000007"), ("sequences/11", "000000"), ("extra", "000964")]
    for number, (folder, frame) in enumerate(scans):
        points = rng.random((50 + number, 4)) * [40, 30, 3, 1] - [20, 15, 2, 0]
        semantic = np.resize([40, 252, 0, 81, 99], 50 + number)
        labels = None if folder == "sequences/11" else semantic + (7 << 16)
        _write_kitti_scan(root, folder, frame, points, labels)
    return root
