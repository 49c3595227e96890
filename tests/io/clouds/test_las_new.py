"""Points of other formats as LAS 1.4, against what laspy reads."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.io.cloud import open_cloud, read_cloud, write_cloud
from tests.io.clouds.samples import NUM, WRITERS, colors, coordinates, points, write_las

CODES = np.random.default_rng(1).integers(0, 256, NUM)
CODES[3] = 255


def as_las(path: Path, added: dict | None = None, suffix: str = ".las") -> laspy.LasData:
    target = path.with_name(f"out{suffix}")
    write_cloud(open_cloud(path), target, added or {}, {})
    return laspy.read(target)


def xyz_of(las: laspy.LasData) -> np.ndarray:
    return np.stack([las.x, las.y, las.z], axis=1)


def save(path: Path, xyz: np.ndarray, **columns: np.ndarray) -> Path:
    np.savez(path, xyz=xyz, **columns)
    return path


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize("source", sorted(WRITERS.keys() - {".las", ".laz", ".bin"}))
def test_points_of_every_format(tmp_path, source, suffix):
    path = tmp_path / f"a{source}"
    WRITERS[source](path, points())
    added = {"classification": CODES, "sure": np.arange(NUM) % 3 == 0}
    found = as_las(path, added, suffix)
    assert (str(found.header.version), found.point_format.id) == ("1.4", 7)
    expected = points()
    xyz = np.stack([expected.pop(axis) for axis in "xyz"], axis=1)
    np.testing.assert_allclose(xyz_of(found), xyz, rtol=0, atol=2e-9)
    assert found.header.offsets.tolist() == np.floor(xyz.min(0)).tolist()
    for name in ("red", "green", "blue"):
        np.testing.assert_array_equal(found[name], expected.pop(name).astype(int) * 257)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    assert list(found.point_format.extra_dimension_names) == [*expected, "sure"]
    assert found.classification.tolist() == CODES.tolist()
    assert found["sure"].tolist() == added["sure"].tolist() and found["sure"].dtype == np.uint8
    assert set(np.array(found.return_number)) == set(np.array(found.number_of_returns)) == {1}
    assert found.header.number_of_points_by_return[0] == NUM
    assert found.header.global_encoding.wkt and found.header.generating_software == "pc3d"
    np.testing.assert_allclose([found.header.mins, found.header.maxs], [xyz.min(0), xyz.max(0)])


def test_kitti(tmp_path):
    WRITERS[".bin"](tmp_path / "a.bin", points())
    values = np.fromfile(tmp_path / "a.bin", "<f4").reshape(-1, 4)
    found = as_las(tmp_path / "a.bin")
    assert found.point_format.id == 6 and found.header.scales.tolist() == [1e-6] * 3
    np.testing.assert_allclose(xyz_of(found), values[:, :3], rtol=0, atol=0.5e-6)
    np.testing.assert_array_equal(found["intensity_1"], values[:, 3])
    assert not found.intensity.any()


@pytest.mark.parametrize(
    ("step", "scale"), [(1.0, 1e-3), (1e-3, 1e-3), (1e-4, 1e-4), (1e-5, 1e-5), (1e-6, 1e-6)]
)
@pytest.mark.parametrize("corner", [0.0, -7e6])
def test_the_scale_loses_nothing(tmp_path, step, scale, corner):
    rng = np.random.default_rng(0)
    whole = rng.integers(-1000, 1000, (50, 3)) + round(corner / step)
    xyz = whole / round(1 / step)
    found = as_las(save(tmp_path / "a.npz", xyz))
    assert found.header.scales.tolist() == [scale] * 3
    np.testing.assert_allclose(xyz_of(found), xyz, rtol=0, atol=4e-9)


@pytest.mark.parametrize(
    ("span", "scale"), [(0.4, 1e-6), (2000.0, 1e-6), (2400.0, 1e-5), (3e5, 1e-3), (1e7, 1e-2)]
)
def test_the_scale_is_the_finest_that_fits(tmp_path, span, scale):
    xyz = np.random.default_rng(0).random((50, 3)) * [span, 0.1, 0.1] - [span, 0, 5]
    path = save(tmp_path / "a.npz", xyz)
    remarks = write_cloud(open_cloud(path), tmp_path / "out.laz", {}, {})
    found = laspy.read(tmp_path / "out.laz")
    assert found.header.scales.tolist() == [scale] * 3
    assert np.abs(xyz_of(found) - xyz).max() <= scale / 2 + 1e-9
    assert bool(remarks) == (scale > 1e-3)
    assert not remarks or "rounded to 0.01" in remarks[0]


@settings(max_examples=25, deadline=None)
@given(
    corner=st.lists(st.floats(-1e8, 1e8), min_size=3, max_size=3),
    span=st.floats(1e-5, 1e6),
    seed=st.integers(0, 99),
)
def test_coordinates_are_within_half_a_step(tmp_path_factory, corner, span, seed):
    folder = tmp_path_factory.mktemp("las")
    xyz = np.random.default_rng(seed).random((9, 3)) * span + corner
    found = as_las(save(folder / "a.npz", xyz))
    scale = found.header.scales[0]
    assert 1e-6 <= scale <= 1e-3
    assert np.abs(xyz_of(found) - xyz).max() <= scale / 2 + 4 * np.spacing(np.abs(xyz).max())


def test_coordinates_that_las_cannot_hold(tmp_path):
    xyz = coordinates()
    path = save(tmp_path / "a.npz", xyz * [1e9, 1, 1])
    with pytest.raises(ValueError, match=r"a\.npz: coordinates span .* more than LAS can hold"):
        as_las(path)
    xyz[[2, 5], 1] = np.nan, np.inf
    path = save(tmp_path / "a.npz", xyz)
    with pytest.raises(ValueError, match=r"a\.npz: 2 of 37 points have no finite coordinates"):
        as_las(path)
    assert not (tmp_path / "out.las").exists()


RAMP = np.linspace(0, 1, NUM)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (colors()["red"], colors()["red"].astype(int) * 257),
        (colors()["red"].astype(np.float32), colors()["red"].astype(int) * 257),
        (colors()["red"].astype(np.int64), colors()["red"].astype(int) * 257),
        (np.arange(NUM, dtype=np.uint16), np.arange(NUM)),
        (np.arange(NUM, dtype=np.int32) * 1000, np.arange(NUM) * 1000),
        (RAMP, np.rint(RAMP * 65535)),
        (np.rint(RAMP), np.rint(RAMP) * 65535),
        (np.rint(RAMP).astype(np.uint8), np.rint(RAMP) * 257),
        (RAMP * 2, None),
        (RAMP - 1, None),
        (np.arange(NUM) * 2000, None),
        (np.where(RAMP == 0, np.nan, RAMP), None),
    ],
)
def test_colors(tmp_path, values, expected):
    blue = np.zeros_like(values)
    path = save(tmp_path / "a.npz", coordinates(), red=values[::-1], green=blue, blue=values)
    found = as_las(path)
    if expected is None:
        assert found.point_format.id == 6
        assert list(found.point_format.extra_dimension_names) == ["red", "green", "blue"]
        np.testing.assert_array_equal(found["blue"], values)
    else:
        assert found.point_format.id == 7 and not list(found.point_format.extra_dimension_names)
        assert found.blue.tolist() == expected.tolist()
        assert found.red.tolist() == expected[::-1].tolist() and not found.green.any()


def test_two_colors_are_columns(tmp_path):
    red = colors()["red"]
    found = as_las(save(tmp_path / "a.npz", coordinates(), red=red, blue=red))
    assert found.point_format.id == 6 and found["red"].tolist() == red.tolist()


def test_columns_that_the_standard_has(tmp_path):
    columns = {
        "return_number": CODES % 3 + 1, "number_of_returns": np.full(NUM, 5), "overlap": CODES > 99,
        "intensity": CODES * 257.0, "gps_time": RAMP, "scan_angle": CODES - 200,
        "classification": CODES, "user_data": CODES + 1000, "scanner_channel": RAMP,
    }  # fmt: skip
    path = save(tmp_path / "a.npz", coordinates(), **columns)
    remarks = write_cloud(open_cloud(path), tmp_path / "out.laz", {}, {})
    found = laspy.read(tmp_path / "out.laz")
    names = {"user_data": "user_data_1", "scanner_channel": "scanner_channel_1"}
    for name, array in columns.items():
        np.testing.assert_array_equal(np.array(found[names.get(name, name)]), array)
    assert [*found.point_format.extra_dimension_names] == list(names.values())
    assert remarks == tuple(f"the column {n!r} is the extra dimension '{n}_1'" for n in names)


def test_types_of_extra_dimensions(tmp_path):
    rng = np.random.default_rng(2)
    columns = {
        kind: (rng.normal(size=NUM) * 100).astype(kind)
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "?")
    }
    columns["i8"][:2] = -(2**63), 2**63 - 1
    path = save(tmp_path / "a.npz", coordinates(), **columns)
    write_cloud(open_cloud(path), tmp_path / "out.laz", {"time": columns["u8"]}, {})
    found = read_cloud(tmp_path / "out.laz", [*columns, "time"]).columns
    for name, array in columns.items():
        np.testing.assert_array_equal(found[name], array)
        kinds = {np.float16: np.float32, np.bool_: np.uint8}
        assert found[name].dtype == kinds.get(array.dtype.type, array.dtype)


def test_an_added_column_replaces_the_sources(tmp_path):
    path = save(tmp_path / "a.npz", coordinates(), a=CODES, b=RAMP, classification=RAMP)
    found = as_las(path, {"classification": CODES, "b": CODES})
    assert found.classification.tolist() == CODES.tolist() == found["b"].tolist()
    assert list(found.point_format.extra_dimension_names) == ["a", "b"]
    assert found["b"].dtype == CODES.dtype


def test_classes_that_are_no_codes(tmp_path):
    path = save(tmp_path / "a.npz", coordinates())
    with pytest.raises(ValueError, match=r"a\.npz: classification must be .* from 0 to 255 .* 256"):
        as_las(path, {"classification": CODES + 1})


def test_las_comes_back_from_ply(tmp_path):
    """Through a format that knows no LAS, everything but records comes back."""
    expected = write_las(tmp_path / "a.laz", 7)
    write_cloud(open_cloud(tmp_path / "a.laz"), tmp_path / "b.ply", {}, {})
    found = as_las(tmp_path / "b.ply")
    np.testing.assert_allclose(xyz_of(found), xyz_of(expected), rtol=0, atol=0.5001e-4)
    for name in expected.point_format.dimension_names:
        if name not in "XYZ":
            np.testing.assert_array_equal(np.array(found[name]), np.array(expected[name]), name)
    assert not list(found.point_format.extra_dimension_names)


def test_points_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("pc3d.io.clouds.las_new.CHUNK", 7)
    monkeypatch.setattr("pc3d.io.clouds.survey.CHUNK", 5)
    columns = {"a": RAMP, "b": CODES[::-1].copy()}
    columns["a"][-1] = np.nan
    xyz = coordinates()
    xyz[-1] += 0.0625 + 1e-5
    found = as_las(save(tmp_path / "a.npz", xyz, **columns, **colors()), {"classification": CODES})
    np.testing.assert_allclose(xyz_of(found), xyz, rtol=0, atol=2e-9)
    assert found.classification.tolist() == CODES.tolist()
    np.testing.assert_array_equal(found["a"], [*RAMP[:-1].tolist(), np.nan])
    assert found["b"].tolist() == CODES[::-1].tolist()


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u2", "?"])
@pytest.mark.parametrize("name", ["return_number", "number_of_returns", "synthetic"])
def test_bits_of_the_standard_from_columns_of_any_type(tmp_path, name, dtype):
    values = (np.arange(NUM) % 2).astype(dtype)
    path = save(tmp_path / "a.npz", coordinates(), **{name: values})
    np.testing.assert_array_equal(as_las(path)[name], values)
    write_las(tmp_path / "b.las", 6, "1.4")
    copy = as_las(tmp_path / "b.las", {name: values})
    np.testing.assert_array_equal(copy[name], values)
