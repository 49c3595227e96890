"""Real scans: airborne tiles of the IGN, and what laspy says of their copies."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pytest

from pc3d.io.cloud import open_cloud, read_cloud, write_cloud

LEGEND = {1: "unassigned", 2: "ground", 3: "low vegetation", 5: "high vegetation", 6: "building"}
NAMES = ("bat", "crop_1", "crop_2", "test_data_77050_627755_LA93_IGN69")


@pytest.fixture(params=NAMES)
def tile(request, shared_data) -> Path:
    path = shared_data / "ign_als" / f"{request.param}.laz"
    if not path.is_file():
        pytest.skip(f"no real scan at {path}")
    return path


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_a_copy_of_an_airborne_tile(tile, tmp_path, suffix):
    expected = laspy.read(tile)
    codes = (np.arange(len(expected)) * 7 % 67).astype(np.uint8)
    confidence = np.sin(np.arange(len(expected))).astype(np.float32)
    cloud = open_cloud(tile)
    target = tmp_path / f"b{suffix}"
    added = {"classification": codes, "confidence": confidence}
    assert write_cloud(cloud, target, added, LEGEND) == ()
    found = laspy.read(target)
    for name in expected.point_format.dimension_names:
        if name != "classification":
            np.testing.assert_array_equal(np.array(found[name]), np.array(expected[name]), name)
    np.testing.assert_array_equal(found.classification, codes)
    np.testing.assert_array_equal(found["confidence"], confidence)
    old, new = tile.read_bytes(), target.read_bytes()
    assert new[:94] == old[:94] and new[107:235] == old[107:235] and new[247:375] == old[247:375]
    kept = [v for v in expected.vlrs if type(v).__name__ != "ExtraBytesVlr"]
    assert kept and all(v.record_data_bytes() in new for v in kept)
    assert found.vlrs.get("ClassificationLookupVlr")[0][3] == "low vegetation"


def test_an_airborne_tile_as_ply_and_back(tile, tmp_path):
    expected = read_cloud(tile, list(open_cloud(tile).columns))
    write_cloud(open_cloud(tile), tmp_path / "a.ply", {}, {})
    write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / "b.laz", {}, {})
    found = read_cloud(tmp_path / "b.laz", list(open_cloud(tile).columns))
    assert open_cloud(tmp_path / "b.laz").header.scales.tolist() == [0.001] * 3
    np.testing.assert_allclose(found.xyz, expected.xyz, rtol=0, atol=2e-9)
    for name, array in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], array)


def test_a_scan_of_kitti(shared_data):
    folder = shared_data / "semantickitti"
    path = next(iter(sorted(folder.rglob("velodyne/*.bin"))), None)
    if path is None:
        pytest.skip(f"no scans of KITTI in {folder}")
    found = read_cloud(path, ["intensity"])
    assert 40_000 < len(found.xyz) < 130_000 and np.isfinite(found.xyz).all()
    assert found.columns["intensity"].min() >= 0 and found.columns["intensity"].max() <= 1
    assert 2 < np.abs(found.xyz[:, :2]).mean() < 30


def test_a_keyframe_of_nuscenes(shared_data):
    path = shared_data / "nuscenes" / "data0" / "points.bin"
    if not path.is_file():
        pytest.skip(f"no keyframe of nuScenes at {path}")
    columns = ("x", "y", "z", "intensity", "ring")
    ring = read_cloud(path, ["ring"], columns).columns["ring"]
    assert set(ring) == set(range(32))
