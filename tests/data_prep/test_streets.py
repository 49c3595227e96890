"""Generated streets as a data set: SemanticKITTI's layout, determinism, poses, instances."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from data_prep import synthetic
from data_prep.rooms.shapes import Shape
from data_prep.streets import vehicles
from data_prep.streets.labels import COUNTED, Label, Thing
from data_prep.streets.layout import Stream
from data_prep.streets.sequence import SPEED, Drive
from data_prep.synthetic import generate, generate_streets, main
from data_prep.whole_set import MARKER
from pc3d.data.datasets import SemanticKITTI
from pc3d.data.datasets.semantickitti import OFFICIAL_SEQUENCES
from pc3d.io.semantickitti import read_labels, read_scan

TINY = {"num_azimuths": 90, "step": 5.0, "num_workers": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("streets") / "set"
    return generate_streets(folder, num_train=2, num_val=2, num_test=1, **TINY)


@cache
def _things(step: float, frame: int, sequence: int = 0) -> list[Thing]:
    drive = Drive(0, sequence, step)
    return drive.street.things(frame * step, drive.time(frame))


def _center(shapes: tuple[Shape, ...]) -> np.ndarray:
    return np.mean([shape.center for shape in shapes], axis=0)


# The set


def test_the_official_split_reads_it(root):
    reader = SemanticKITTI(root)
    assert reader.scenes("train") == ["00/000000", "01/000000"]
    assert reader.scenes("val") == ["08/000000", "08/000001"]
    assert reader.scenes("test") == ["11/000000"]
    samples = [reader.read(scene, "train") for scene in ("00/000000", "01/000000", "11/000000")]
    share = np.zeros(19)
    for sample in samples:
        assert 3600 < len(sample.xyz) < 5760
        distance = np.linalg.norm(sample.xyz, axis=1)
        assert distance.min() > 1.0 and distance.max() < 80.0
        assert sample.intensity.min() >= 0.0 and sample.intensity.max() <= 1.0
        assert (sample.segment == -1).mean() < 0.05
        share += np.bincount(sample.segment[sample.segment >= 0], minlength=19) / 3
    share = dict(zip(reader.spec.class_names, share / len(sample.xyz), strict=True))
    assert 0.15 < share["road"] < 0.5 and 0.03 < share["sidewalk"] < 0.4
    assert share["building"] > 0.02 and share["vegetation"] > 0.02
    assert sum(value > 0 for value in share.values()) >= 12
    assert json.loads((root / MARKER).read_text()) == {
        "kind": "streets",
        "version": 1,
        "seed": 0,
        "num_train": 2,
        "num_val": 2,
        "num_test": 1,
        "num_azimuths": 90,
        "step": 5.0,
        "num_points": sum(len(read_scan(path)) for path in root.rglob("*.bin")),
    }


def test_ground_is_below_the_sensor_and_instances_are_things(root):
    for path in root.rglob("*.bin"):
        points = read_scan(path)
        labels = read_labels(path.parents[1] / "labels" / f"{path.stem}.label", len(points))
        road = (labels.semantic == Label.ROAD) & (np.abs(points[:, :2]) < 8.0).all(axis=1)
        assert abs(np.median(points[road, 2]) + 1.73) < 0.05
        named = {int(label) for label in np.unique(labels.semantic[labels.instance > 0])}
        assert named <= COUNTED and named
        assert (labels.instance[np.isin(labels.semantic, list(COUNTED))] > 0).all()


def test_every_sequence_of_the_benchmark_has_its_files(root):
    sequences = sorted(name for names in OFFICIAL_SEQUENCES.values() for name in names)
    assert sorted(path.name for path in (root / "sequences").iterdir()) == sequences
    for name in sequences:
        folder = root / "sequences" / name
        num_scans = len(list((folder / "velodyne").iterdir()))
        assert len(list((folder / "labels").iterdir())) == num_scans
        for lines in ("poses.txt", "times.txt"):
            assert len((folder / lines).read_text().splitlines()) == num_scans
    assert (root / "sequences/08/times.txt").read_text().split() == ["0.000000e+00", "5.000000e-01"]
    calib = dict(line.split(": ") for line in (folder / "calib.txt").read_text().splitlines())
    assert list(calib) == ["P0", "P1", "P2", "P3", "Tr"]
    assert all(len(value.split()) == 12 for value in calib.values())


def test_scans_are_dealt_to_the_sequences_of_their_split():
    lengths = synthetic._deal({"train": 12, "val": 3, "test": 0})
    train = {int(name): 1 for name in OFFICIAL_SEQUENCES["train"]} | {0: 2, 1: 2}
    assert {k: n for k, n in lengths.items() if n} == train | {8: 3}
    assert sorted(lengths) == list(range(22))


def test_a_scan_depends_on_neither_the_others_nor_the_processes(root, tmp_path):
    again = generate_streets(tmp_path, num_train=1, num_val=1, num_test=0,
                             **TINY | {"num_workers": 1})  # fmt: skip
    for path in again.rglob("*/*/*/*.*"):
        if path.suffix in (".bin", ".label"):
            assert path.read_bytes() == (root / path.relative_to(again)).read_bytes()
    assert len(list(again.rglob("*.bin"))) == 2
    poses = [folder / "sequences/08/poses.txt" for folder in (root, again)]
    assert poses[0].read_text().startswith(poses[1].read_text())


def test_scans_differ_by_seed_sequence_and_frame(root):
    scans = [path.read_bytes() for path in root.rglob("*.bin")]
    assert len(set(scans)) == len(scans) == 5
    assert not np.array_equal(
        Drive(0, 0, 1.0).street.ground.strip, Drive(1, 0, 1.0).street.ground.strip
    )


def test_sets_of_other_kinds_are_not_replaced(root, tmp_path):
    counts = {"num_train": 0, "num_val": 0, "num_test": 0}
    with pytest.raises(FileExistsError, match=r"another kind \(streets\)"):
        generate(root, **counts, num_workers=0)
    generate(tmp_path, **counts, num_workers=0)
    with pytest.raises(FileExistsError, match=r"another kind \(rooms\)"):
        generate_streets(tmp_path, **counts, **TINY)
    real = tmp_path / "kitti" / "sequences" / "00" / "velodyne" / "000000.bin"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"")
    with pytest.raises(FileExistsError, match="will not be replaced"):
        generate_streets(tmp_path / "kitti", **counts, **TINY)
    assert real.exists()


def test_other_settings_replace_the_set(tmp_path):
    counts = {"num_train": 0, "num_val": 1, "num_test": 0}
    generate_streets(tmp_path, **counts, **TINY)
    before = (tmp_path / "sequences/08/velodyne/000000.bin").read_bytes()
    generate_streets(tmp_path, **counts, **TINY | {"num_azimuths": 40})
    assert 2 * (tmp_path / "sequences/08/velodyne/000000.bin").stat().st_size < 1.1 * len(before)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["kind=boats"], "kind=boats is unknown; expected one of rooms, s3dis, streets"),
        (["kind=streets", "num_rooms=3"], "unknown argument 'num_rooms=3'"),
        (["kind=streets", "step=far"], "step must be a number; got 'far'"),
        (["kind=streets", "step=0"], "step must be in 0.01..100 metres; got 0.0"),
        (["kind=streets", "num_azimuths=1"], "num_azimuths must be in 8..10000; got 1"),
        (["kind=streets", "num_val=-1"], "num_val must be at least 0; got -1"),
        (["kind=streets", "seed=-1"], "seed must be at least 0; got -1"),
        (["kind=streets", "num_val=500", "step=100"], "sequence 08 would have 500 scans"),
        (["kind=streets"], "out=PATH is missing"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(arguments, expected, tmp_path, capsys):
    out = [] if "missing" in expected else [f"out={tmp_path / 'set'}"]
    assert main([*arguments, *out]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "set").exists()


def test_command_line(tmp_path):
    counts = ["num_train=0", "num_val=0", "num_test=0", "num_workers=0"]
    assert main([f"out={tmp_path}", "kind=streets", "step=2", "seed=7", *counts]) == 0
    settings = json.loads((tmp_path / MARKER).read_text())
    assert (settings["step"], settings["seed"], settings["num_points"]) == (2.0, 7, 0)
    assert SemanticKITTI(tmp_path).scenes("train") == []


# The drive


def test_poses_lay_scans_over_each_other(root):
    """Façades of the second scan fall on those of the first only through the poses and calib."""
    folder = root / "sequences" / "08"
    poses = [_matrix(line) for line in (folder / "poses.txt").read_text().splitlines()]
    lines = (folder / "calib.txt").read_text().splitlines()
    to_camera = _matrix(dict(line.split(": ") for line in lines)["Tr"])
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-6)
    assert 4.5 < np.linalg.norm(poses[1][:3, 3]) < 5.5
    assert poses[1][2, 3] > 4.4  # the camera looks along z
    still = (Label.BUILDING, Label.FENCE, Label.TRUNK, Label.POLE, Label.CAR)
    clouds = []
    for k in range(2):
        points = read_scan(folder / "velodyne" / f"{k:06d}.bin")
        semantic = read_labels(folder / "labels" / f"{k:06d}.label", len(points)).semantic
        near = np.isin(semantic, still) & (np.linalg.norm(points[:, :2], axis=1) < 15.0)
        clouds.append(np.column_stack([points[near, :3], np.ones(near.sum())]))
    velodyne = np.linalg.inv(to_camera) @ poses[1] @ to_camera
    first = cKDTree(clouds[0][:, :3])
    moved = np.median(first.query((clouds[1] @ velodyne.T)[:, :3])[0])
    unmoved = np.median(first.query(clouds[1][:, :3])[0])
    assert moved < 0.35 and moved < 0.6 * unmoved


def _matrix(row: str) -> np.ndarray:
    return np.vstack([np.array(row.split(), dtype=float).reshape(3, 4), [0, 0, 0, 1]])


def test_the_sensor_keeps_to_the_right_lane_level_with_the_road():
    drive = Drive(0, 2, 3.0)
    course, half = drive.street.ground.course, drive.street.ground.half_road
    assert np.abs(course.bends[:, 0]).max() > 0.5
    positions = np.array([drive.pose(k).position for k in range(40)])
    u, d = course.coordinates(positions[:, 0], positions[:, 1])
    np.testing.assert_allclose(d, -half / 2, atol=0.01)
    np.testing.assert_allclose(np.diff(u), 3.0, atol=0.01)
    steps = np.diff(positions, axis=0)
    steps /= np.linalg.norm(steps, axis=1)[:, None]
    forward = np.array([drive.pose(k).rotation[:, 0] for k in range(39)])
    assert ((steps * forward).sum(axis=1) > np.cos(np.radians(2.0))).all()
    assert np.abs(steps[:, 2] - forward[:, 2]).max() < 0.01
    for k in (0, 20):
        rotation = drive.pose(k).rotation
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) > 0 and rotation[2, 2] > 0.99


def test_instances_are_the_same_things_in_every_frame():
    frames = [
        {(thing.label, thing.instance): thing for thing in _things(2.0, k) if thing.instance}
        for k in (0, 1, 10)
    ]
    assert [len(frame) for frame in frames] == [
        sum(thing.label in COUNTED for thing in _things(2.0, k)) for k in (0, 1, 10)
    ]
    assert all(0 < instance < 1 << 16 for frame in frames for _, instance in frame)
    moved = {}
    for key in frames[0].keys() & frames[1].keys():
        before, after = (_center(frame[key].shapes) for frame in frames[:2])
        moved[key] = float(np.linalg.norm(after - before))
        assert len(frames[0][key].shapes) == len(frames[1][key].shapes)
    still = [length for (label, _), length in moved.items() if label < Label.MOVING_CAR]
    driven = [length for (label, _), length in moved.items() if label >= Label.MOVING_CAR]
    assert len(still) > 20 and max(still) == 0.0
    assert len(driven) > 8 and min(driven) > 0.15 and max(driven) < 3.5  # within 0.2 s
    later = frames[0].keys() & frames[2].keys()
    assert sum(label >= Label.MOVING_CAR for label, _ in later) > 5
    for key in later:  # the same car, not another one in its place
        sizes = [[np.linalg.norm(s.axes) for s in frame[key].shapes] for frame in frames[::2]]
        np.testing.assert_allclose(*sizes, rtol=1e-9)


def test_traffic_surrounds_the_sensor_all_along():
    for frame in (0, 5, 40):  # up to 80 s and 800 m from the start
        moving = [t for t in _things(20.0, frame) if t.label >= Label.MOVING_CAR]
        ahead = np.array([_center(t.shapes)[0] for t in moving]) - 20.0 * frame
        assert np.abs(ahead).max() < 130.0
        assert (ahead > 10.0).sum() > 5 and (ahead < -10.0).sum() > 5


def test_the_own_lane_is_free_around_the_sensor():
    """Of two lanes full of cars, one every 10 m."""
    street = Drive(0, 0, 1.0).street
    lane = street.ground.half_road / 2
    cars = ((1.0, Label.MOVING_CAR, vehicles.car),)
    full = tuple(Stream(cars, d, SPEED, 10.0) for d in (-lane, lane))
    for time in (0.0, 3.3):
        u = SPEED * time
        things = replace(street, streams=full).things(u, time)
        places = np.array([_center(t.shapes)[:2] for t in things if t.label == Label.MOVING_CAR])
        along, across = street.ground.course.coordinates(*places.T)
        own, other = np.abs(along - u)[across < 0], np.abs(along - u)[across > 0]
        assert 12.0 < own.min() < 26.0 and other.min() < 8.0
        assert len(own) > 10


def test_the_street_does_not_depend_on_where_it_is_looked_at_from():
    """What stands in the middle of two views is the same in both."""
    near, far = _things(20.0, 0), _things(20.0, 4)  # 80 m apart, in the same street
    shared = [
        {tuple(_center(t.shapes).round(6)) for t in things if t.label < Label.MOVING_CAR}
        for things in (near, far)
    ]
    middle = [{c for c in centers if 10.0 < c[0] < 70.0} for centers in shared]
    assert middle[0] == middle[1] and len(middle[0]) > 40


def test_nothing_drives_into_the_sensor():
    drive = Drive(0, 8, 3.0)
    for frame in (0, 9, 23, 40):
        eye = drive.pose(frame).position
        shapes = [shape for thing in _things(3.0, frame, 8) for shape in thing.shapes]
        offset = eye - np.array([shape.center for shape in shapes])
        axes = np.array([shape.axes for shape in shapes])
        local = np.einsum("sc,sca->sa", offset, np.linalg.inv(axes))
        assert np.abs(local).max(axis=1).min() > 1.0


def test_streets_have_every_kind_of_thing():
    found = {t.label for sequence in range(3) for t in _things(80.0, 1, sequence)}
    ground = {Label.ROAD, Label.LANE_MARKING, Label.PARKING, Label.SIDEWALK, Label.TERRAIN}
    ground |= {Label.OTHER_GROUND, Label.UNLABELED, Label.OUTLIER}
    rare = {Label.MOVING_BUS, Label.MOTORCYCLIST, Label.MOVING_MOTORCYCLIST, Label.BICYCLIST}
    assert set(Label) - ground - rare <= found
    assert SPEED == 10.0
