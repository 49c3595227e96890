"""Readers on damaged files: a clear error that names a file, or a correct read, in little memory.

Every case is a small data set. One of its files is damaged at a time (`tests.data.mutations`), and
all scenes are listed and read.
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from plyfile import PlyData

from pc3d.data.datasets import S3DIS, NuScenes, ScanNet, SemanticKITTI
from pc3d.data.datasets.reader import LayoutReader
from pc3d.data.sample import PointSample
from tests.data.fixtures import (
    s3dis_lines,
    tsv,
    write_annotated_scene,
    write_arrays,
    write_mesh,
    write_nuscenes,
    write_room,
)
from tests.data.mutations import mutate

MAX_BYTES = 32 << 20
MAX_SECONDS = 2.0  # of this process; a read takes a few milliseconds
NUM = 30


class Case(NamedTuple):
    """A data set.

    Attributes:
        build: writes it; returns the reader's maker and the files to damage.
        act: what is done with the reader.
    """

    build: Callable[[Path], tuple[Callable[[], LayoutReader], list[Path]]]
    act: Callable[[LayoutReader], None]


def read_all(reader: LayoutReader) -> None:
    for scene in reader.scenes("train"):
        check_sample(reader.read(scene, "train"), reader)
        assert reader.layout.num_points(scene) >= 0


def check_sample(sample: PointSample, reader: LayoutReader) -> None:
    """What a reader promises of a sample that it returns."""
    num = len(sample)
    assert num > 0 and sample.xyz.shape == (num, 3) and sample.xyz.dtype == np.float32
    assert np.isfinite(sample.xyz).all() and np.isfinite(sample.origin).all()
    for name, width in (("color", 3), ("normal", 3), ("intensity", None)):
        array = getattr(sample, name)
        if array is not None:
            assert array.shape == ((num,) if width is None else (num, width))
            assert array.dtype == np.float32 and np.isfinite(array).all()
    assert sample.segment is not None and sample.segment.shape == (num,)
    assert sample.segment.dtype == np.int64
    assert sample.segment.min() >= -1 and sample.segment.max() < reader.spec.num_classes
    if sample.instance is not None:
        assert sample.instance.shape == (num,) and sample.instance.dtype == np.int64


def validate(reader: LayoutReader) -> None:
    reader.validate(reader.root / "out", "train")


def _xyz() -> np.ndarray:
    return np.random.default_rng(1).random((NUM, 3)) * [3, 2, 1]


def _scannet_ply(root: Path, text: bool = False, byte_order: str = "<"):
    folder = root / "scans" / "scene0000_00"
    mesh = folder / "scene0000_00_vh_clean_2.ply"
    labels = folder / "scene0000_00_vh_clean_2.labels.ply"
    faces = np.array([[0, 1, 2], [2, 1, 7], [9, 20, 3]])
    write_mesh(mesh, _xyz(), faces)
    write_mesh(labels, _xyz(), faces, label=np.resize([1, 2, 39, 0], NUM).astype(np.uint16))
    if text or byte_order != "<":
        for path in (mesh, labels):
            ply = PlyData.read(str(path), mmap=False)
            ply.text, ply.byte_order = text, byte_order
            ply.write(str(path))
    split = root / "scannetv2_train.txt"
    split.write_text("scene0000_00\n")
    return lambda: ScanNet(root, normals=True), [mesh, labels, split]


def _scannet_aggregation(root: Path):
    scene = "scene0000_00"
    objects = [("wall", [3, 900]), ("office chair", [17]), ("trashcan", [4])]
    segments = np.resize([3, 3, 900, 17, 4, 5], NUM).tolist()
    folder = write_annotated_scene(root, scene, segments, objects)
    (folder / f"{scene}.txt").write_text(
        "axisAlignment = 0 -1 0 10 1 0 0 20 0 0 1 -0.5 0 0 0 1 \ncolorHeight = 968\n"
    )
    table = root / "scannetv2-labels.combined.tsv"
    table.write_bytes(tsv())
    names = (f"{scene}.aggregation.json", f"{scene}_vh_clean_2.0.010000.segs.json", f"{scene}.txt")
    make = lambda: ScanNet(root, classes=200, axis_align=True)  # noqa: E731
    return make, [*(folder / name for name in names), table]


def _s3dis(root: Path):
    rng = np.random.default_rng(2)
    points = np.concatenate([_xyz().round(3), rng.integers(0, 256, (NUM, 3))], axis=1)
    damaged = s3dis_lines(points) + b"1 2 -9.1\x160 103.0\x100000 5 6\n"
    for area in range(1, 7):
        folder = write_room(root, f"Area_{area}/office_1", {"chair_1": points[:2]})
        angles = root / f"Area_{area}" / f"Area_{area}_alignmentAngle.txt"
        angles.write_text("## angles ##\noffice_1 90\nhallway_2 180\n")
    folder = write_room(root, "Area_6/office_1", {"wall_1": points, "table_2": damaged})
    return lambda: S3DIS(root, align=True), [folder / "wall_1.txt", folder / "table_2.txt", angles]


def _kitti(root: Path):
    folder = root / "sequences" / "00"
    scan, labels = folder / "velodyne" / "000000.bin", folder / "labels" / "000000.label"
    for path in (scan, labels):
        path.parent.mkdir(parents=True)
    np.concatenate([_xyz(), np.full((NUM, 1), 0.5)], axis=1).astype("<f4").tofile(scan)
    (np.resize([40, 252, 0, 81, 99], NUM) + (7 << 16)).astype("<u4").tofile(labels)
    return lambda: SemanticKITTI(root, sequences={"train": ["00"]}), [scan, labels]


def _nuscenes(root: Path):
    version = "v1.0-mini"
    (token, _) = write_nuscenes(root, version, {"scene-0061": 2}, labels=np.arange(40) % 32)
    names = ("scene", "sample", "sample_data", "category", "lidarseg")
    files = [root / version / f"{name}.json" for name in names]
    files.append(root / f"samples/LIDAR_TOP/n015__LIDAR_TOP__{token}.pcd.bin")
    files.append(root / f"lidarseg/{version}/{token}_lidarseg.bin")
    return lambda: NuScenes(root, version), files


def _arrays(root: Path):
    arrays = {
        "coord": _xyz(),
        "color": np.arange(3 * NUM, dtype=np.uint8).reshape(NUM, 3),
        "normal": np.tile(np.float32([0, 0, 1]), (NUM, 1)),
        "segment20": np.resize([0, 19, -1], NUM).astype(np.int16)[:, None],
        "instance": np.arange(NUM, dtype=np.int32),
    }
    folder = write_arrays(root / "train" / "scene0000_00", **arrays)
    return lambda: ScanNet(root), [folder / f"{name}.npy" for name in arrays]


def _submissions(root: Path):
    make, _ = _kitti(root)
    make().write_prediction(root / "out", "00/000000", np.resize([0, 8, 18], NUM))
    return make, [root / "out/sequences/00/predictions/000000.label"]


def _submissions_in_text(root: Path):
    make, _ = _scannet_ply(root)
    make().write_prediction(root / "out", "scene0000_00", np.resize([0, 8, 18], NUM))
    return make, [root / "out" / "scene0000_00.txt"]


CASES = {
    "ScanNet": Case(_scannet_ply, read_all),
    "ScanNet in text": Case(lambda root: _scannet_ply(root, text=True), read_all),
    "ScanNet in big endian": Case(lambda root: _scannet_ply(root, byte_order=">"), read_all),
    "ScanNet200": Case(_scannet_aggregation, read_all),
    "S3DIS": Case(_s3dis, read_all),
    "SemanticKITTI": Case(_kitti, read_all),
    "nuScenes": Case(_nuscenes, read_all),
    "arrays": Case(_arrays, read_all),
    "submission": Case(_submissions, validate),
    "submission in text": Case(_submissions_in_text, validate),
}


class Outcomes(NamedTuple):
    """How many damaged files were read, and how many refused."""

    num_read: int
    num_refused: int


def fuzz(name: str, root: Path, num_per_file: int, seed: int) -> Outcomes:
    """Damage every file of a case several times.

    Raises:
        AssertionError: anything but a clear error or a correct read; the message repeats the case.
    """
    case = CASES[name]
    make, files = case.build(root)
    case.act(make())  # undamaged
    counts = [0, 0]
    tracemalloc.start()
    try:
        for file_index, path in enumerate(files):
            content = path.read_bytes()
            for number in range(num_per_file):
                rng = np.random.default_rng([seed, file_index, number])
                damaged, what = mutate(content, rng)
                path.write_bytes(damaged)
                place = f"{name}: {path.name}, {what}, seed {[seed, file_index, number]}"
                counts[_refused(case, make, root, place)] += 1
            path.write_bytes(content)
    finally:
        tracemalloc.stop()
    return Outcomes(*counts)


def _refused(case: Case, make: Callable[[], LayoutReader], root: Path, place: str) -> bool:
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    refused = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.act(make())
    except Exception as error:  # noqa: BLE001 - any other kind is what is looked for
        kind = type(error)
        assert kind in (ValueError, FileNotFoundError), f"{place}: {kind.__name__}: {error}"
        assert str(root) in str(error), f"{place}: names no file: {error}"
        assert len(str(error)) < 4000, f"{place}: {len(str(error))} characters"
        refused = True
    used = tracemalloc.get_traced_memory()[1] - before
    assert used < MAX_BYTES, f"{place}: {used >> 20} MiB"
    assert time.process_time() - start < MAX_SECONDS, place
    return refused
