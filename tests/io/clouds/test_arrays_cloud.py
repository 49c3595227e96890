"""Points in .npy, .npz and .bin files."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from pc3d.io.cloud import open_cloud, read_cloud
from tests.io.clouds.samples import NUM, colors, coordinates

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(NUM, 7))


@pytest.mark.parametrize(
    ("num_columns", "names", "remark"),
    [
        (3, (), "3 columns without names are taken for x, y, z"),
        (4, ("intensity",), "4 columns without names are taken for x, y, z, intensity"),
        (
            6,
            ("red", "green", "blue"),
            "6 columns without names are taken for x, y, z, red, green, blue",
        ),
    ],
)
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "u1", "i8", "?"])
def test_tables_without_names(tmp_path, num_columns, names, remark, dtype):
    table = (TABLE[:, :num_columns] * 100).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(table) if num_columns == 4 else table)
    cloud = open_cloud(tmp_path / "a.npy")
    native = np.dtype(dtype).newbyteorder("=")
    assert dict(cloud.columns) == dict.fromkeys(names, native)
    assert cloud.remarks == (remark,)
    found = read_cloud(tmp_path / "a.npy", names)
    np.testing.assert_array_equal(found.xyz, table[:, :3])
    for i, name in enumerate(names):
        np.testing.assert_array_equal(found.columns[name], table[:, 3 + i])
        assert found.columns[name].dtype == native


def test_tables_whose_columns_are_named(tmp_path):
    np.save(tmp_path / "a.npy", TABLE)
    columns = ("label", "z", "_", "x", "y", "_", "time")
    cloud = open_cloud(tmp_path / "a.npy", columns)
    assert list(cloud.columns) == ["label", "time"] and cloud.remarks == ()
    found = read_cloud(tmp_path / "a.npy", ["time"], columns)
    np.testing.assert_array_equal(found.xyz, TABLE[:, [3, 4, 1]])
    np.testing.assert_array_equal(found.columns["time"], TABLE[:, 6])


@pytest.mark.parametrize("num_columns", [1, 2, 5, 7])
def test_columns_that_may_mean_anything_are_asked_for(tmp_path, num_columns):
    np.save(tmp_path / "a.npy", np.arange(7.0 * num_columns).reshape(7, num_columns) + 0.5)
    words = rf"a\.npy: {num_columns} columns without names; the first row is \[0\.5.*names="
    with pytest.raises(ValueError, match=words):
        open_cloud(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            ("x", "y", "z"),
            r"names= has 3 columns \(x, y, z\), but the file has 4; its first ro",
        ),
        (("x", "y", "z", "x"), "every column needs a name of its own; got 'x', 'y', 'z', 'x'"),
        (("x", "y", "z", ""), "every column needs a name of its own; got 'x', 'y', 'z', ''"),
        (("x", "y", "a", "b"), "no coordinates; expected columns x, y, z, got x, y, a, b"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".bin", ".txt"])
def test_names_that_do_not_fit(tmp_path, columns, words, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, TABLE[:, :4])
    elif suffix == ".txt":
        np.savetxt(path, TABLE[:, :4])
    else:
        TABLE[:4, :4].astype("<f4").tofile(path)
    if suffix == ".bin" and len(columns) == 3:
        words = r"256 bytes|not a whole number of points of 3 float32 \(x, y, z\)"
    with pytest.raises(ValueError, match=rf"a\{suffix}: .*({words})"):
        open_cloud(path, columns)


def test_rows_with_fields(tmp_path):
    rows = np.zeros(NUM, [("xyz", "<f4", 3), ("rgb", "u1", (3,)), ("n", ">i2", 2), ("t", "f8")])
    rows["xyz"], rows["t"] = TABLE[:, :3], TABLE[:, 3]
    rows["rgb"] = np.stack(list(colors().values()), axis=1)
    rows["n"] = RNG.integers(-9, 9, (NUM, 2))
    np.save(tmp_path / "a.npy", rows)
    cloud = open_cloud(tmp_path / "a.npy")
    assert list(cloud.columns) == ["red", "green", "blue", "n_0", "n_1", "t"]
    found = read_cloud(tmp_path / "a.npy", ["blue", "n_1", "t"])
    np.testing.assert_array_equal(found.xyz, rows["xyz"])
    np.testing.assert_array_equal(found.columns["blue"], colors()["blue"])
    np.testing.assert_array_equal(found.columns["n_1"], rows["n"][:, 1])
    assert found.columns["n_1"].dtype == np.int16


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(4), r"expected an array \[P, C\] of numbers.*got \[4\] of float64"),
        (np.zeros((4, 3, 2)), r"got \[4, 3, 2\]"),
        (np.zeros((4, 3), complex), "complex128"),
        (np.array([["a", "b", "c"]]), "<U1"),
        (np.zeros((), [("x", "f4")]), r"got \[\]"),
        (np.zeros((2, 2), [("x", "f4")]), r"got \[2, 2\]"),
        (np.zeros(3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("n", "U3")]), "field n is no col"),
        (np.zeros(3, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("n", "f4", (2, 2))]), "field n is"),
        (np.zeros(3, [("x", "f4"), ("y", "f4"), ("z", [("a", "f4")])]), "field z is no column"),
    ],
)
def test_arrays_that_are_no_points(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{words}"):
        open_cloud(tmp_path / "a.npy")


def test_pickles_are_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, None]), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps([1, 2]))
    np.savez(tmp_path / "c.npz", xyz=np.array([[{}, 1, 2]], dtype=object))
    (tmp_path / "d.npz").write_bytes(pickle.dumps([1, 2]))
    for name in ("a.npy", "b.npy", "c.npz", "d.npz"):
        with pytest.raises(ValueError, match=rf"/{name}: "):
            open_cloud(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["xyz", "coord", "points"])
@pytest.mark.parametrize("color", ["rgb", "color", "colors"])
def test_npz(tmp_path, save, key, color):
    arrays = {
        "label": RNG.integers(0, 9, NUM),
        color: np.stack(list(colors().values()), axis=1),
        key: np.asfortranarray(coordinates()),
        "normal": np.asfortranarray(TABLE[:, :3].astype(">f4")),
        "is_ground": TABLE[:, 0] > 0,
        "pose": np.eye(4),
        "name": np.array("scan"),
        "empty": np.zeros((NUM, 0)),
        "view": np.zeros((NUM, 2, 2)),
    }
    save(tmp_path / "a.npz", **arrays)
    cloud = open_cloud(tmp_path / "a.npz")
    assert {name: str(dtype) for name, dtype in cloud.columns.items()} == {
        "label": "int64", "red": "uint8", "green": "uint8", "blue": "uint8", "normal_0": "float32",
        "normal_1": "float32", "normal_2": "float32", "is_ground": "bool",
    }  # fmt: skip
    assert [remark.split(",")[0] for remark in cloud.remarks] == [
        "the array pose", "the array name", "the array view",
    ]  # fmt: skip
    found = read_cloud(tmp_path / "a.npz", list(cloud.columns))
    np.testing.assert_array_equal(found.xyz, coordinates())
    np.testing.assert_array_equal(found.columns["normal_2"], TABLE[:, 2].astype("f4"))
    np.testing.assert_array_equal(found.columns["green"], colors()["green"])
    np.testing.assert_array_equal(found.columns["is_ground"], arrays["is_ground"])
    np.testing.assert_array_equal(found.columns["label"], arrays["label"])
    parts = [chunk.columns["normal_1"] for chunk in cloud.chunks(["normal_1"], 5)]
    np.testing.assert_array_equal(np.concatenate(parts), arrays["normal"][:, 1])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "no coordinates"),
        ({"xyz": np.zeros((4, 4))}, "no coordinates; expected columns x, y, z, got xyz_0"),
        ({"x": np.zeros(4), "y": np.zeros(3), "z": np.zeros(4)}, "no coordinates; .* got x, z"),
        (
            {"xyz": np.zeros((4, 3)), "coord": np.zeros((4, 3))},
            "every column needs a name of its own",
        ),
        ({"xyz": np.zeros((4, 3)), "x": np.zeros(4)}, "every column needs a name of its own"),
    ],
)
def test_npz_without_coordinates(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=rf"a\.npz: {words}"):
        open_cloud(tmp_path / "a.npz")


def test_npz_whose_arrays_are_shorter_than_they_say(tmp_path):
    """Also behind a header that promises more rows than memory has."""
    np.save(tmp_path / "xyz.npy", np.zeros((4, 3)))
    content = (tmp_path / "xyz.npy").read_bytes()
    for shape in (b"(5, 3), ", b"(9999999999, 3), "):
        header = content[: content.index(b"(4, 3), ")] + shape
        changed = header.ljust(127) + b"\n" + content[128:]
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("xyz.npy", changed.replace(b"), ", b"), }", 1))
        with pytest.raises(ValueError, match=r"a\.npz: damaged .*shorter than its header says"):
            next(iter(open_cloud(tmp_path / "a.npz").chunks()))


def test_npz_whose_content_was_changed(tmp_path):
    np.savez(tmp_path / "a.npz", xyz=np.arange(12.0).reshape(4, 3))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(np.float64(11).tobytes())] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz: damaged or truncated \(Bad CRC"):
        read_cloud(tmp_path / "a.npz")


@pytest.mark.parametrize("columns", [(), ("x", "y", "z", "intensity", "ring")])
def test_bin(tmp_path, columns):
    table = TABLE[:20, : len(columns) or 4].astype("<f4")
    table.tofile(tmp_path / "a.bin")
    cloud = open_cloud(tmp_path / "a.bin", columns)
    assert cloud.num_points == 20
    found = read_cloud(tmp_path / "a.bin", list(cloud.columns), columns)
    np.testing.assert_array_equal(found.xyz, table[:, :3])
    np.testing.assert_array_equal(np.stack(list(found.columns.values()), axis=1), table[:, 3:])
    if columns:
        assert list(cloud.columns) == ["intensity", "ring"] and cloud.remarks == ()
    else:
        assert cloud.remarks == (
            "rows of 4 float32 without names are taken for x, y, z, intensity",
        )


def test_bin_of_another_number_of_columns(tmp_path):
    TABLE[:3, :5].astype("<f4").tofile(tmp_path / "a.bin")
    words = r"a\.bin: 60 bytes are not a whole number of points of 4 float32 .*x,y,z,intensity,ring"
    with pytest.raises(ValueError, match=words):
        open_cloud(tmp_path / "a.bin")


def test_bin_of_nuscenes_says_so_by_its_name(tmp_path):
    table = np.arange(40, dtype="<f4").reshape(8, 5)  # of 10 points of four numbers, too
    table.tofile(tmp_path / "a.pcd.bin")
    cloud = open_cloud(tmp_path / "a.pcd.bin")
    assert cloud.num_points == 8 and list(cloud.columns) == ["intensity", "ring"]
    found = read_cloud(tmp_path / "a.pcd.bin", ["ring"])
    np.testing.assert_array_equal(found.xyz, table[:, :3])
    np.testing.assert_array_equal(found.columns["ring"], table[:, 4])
