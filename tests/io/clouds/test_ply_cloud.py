"""Vertices of ply files as points, and copies of ply files, against plyfile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement

from pc3d.io.cloud import open_cloud, read_cloud, write_cloud
from tests.io.clouds.samples import NUM, WRITERS, X, coordinates, points, table, write_las

CODES = np.random.default_rng(1).integers(0, 9, NUM)
CONFIDENCE = np.random.default_rng(2).random(NUM).astype(np.float32)
ADDED = {"classification": CODES.astype(np.uint8), "confidence": CONFIDENCE}


def mesh(path: Path, *, text: bool = False, byte_order: str = "<", views: bool = False) -> None:
    """Vertices with normals, faces with lists of two kinds, and an element of its own."""
    rng = np.random.default_rng(8)
    columns = {**points(), "nx": rng.normal(size=NUM).astype(np.float32), "label": CODES - 5}
    columns["label"] = columns["label"].astype(np.int32)
    rows = table(columns)
    if views:
        more = np.empty(NUM, [*rows.dtype.descr, ("views", "O")])
        for name in columns:
            more[name] = rows[name]
        more["views"] = [rng.integers(0, 99, i % 3).astype(np.uint16) for i in range(NUM)]
        rows = more
    vertex = PlyElement.describe(
        rows, "vertex", len_types={"views": "u4"}, val_types={"views": "u2"}
    )
    faces = np.empty(3, [("vertex_indices", "O"), ("area", "f8")])
    faces["vertex_indices"] = [[0, 1, 2], [3, 4, 5, 6], [7]]
    faces["area"] = [0.1, 2, 3]  # other numbers if big endian: plyfile writes them wrong
    elements = [vertex, PlyElement.describe(faces, "face", comments=["of the roof"])]
    elements.append(PlyElement.describe(np.array([(1.5,)], [("focal", "f4")]), "camera"))
    PlyData(
        elements, text, byte_order, comments=["made by hand", "class A"], obj_info=["num_cols 3"]
    ).write(path)


def assert_copied(found: PlyData, expected: PlyData) -> None:
    """Everything but what was added to the vertices."""
    assert found.text == expected.text
    assert found.obj_info == expected.obj_info
    assert [e.name for e in found.elements] == [e.name for e in expected.elements]
    for new, old in zip(found.elements, expected.elements, strict=True):
        assert new.comments == old.comments and new.count == old.count
        assert [str(p) for p in new.properties][: len(old.properties)] == [
            str(p) for p in old.properties
        ]
        for p in old.properties:
            assert [str(v) for v in new[p.name]] == [str(v) for v in old[p.name]]


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("text, byte_order", [(False, "<"), (False, ">"), (True, "=")])
def test_a_copy_keeps_everything(tmp_path, text, byte_order, views):
    mesh(tmp_path / "a.ply", text=text, byte_order=byte_order, views=views)
    expected = PlyData.read(str(tmp_path / "a.ply"))
    remarks = write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / "b.ply", ADDED, {})
    found = PlyData.read(str(tmp_path / "b.ply"))
    assert_copied(found, expected)
    is_turned = byte_order == ">" and views
    assert found.byte_order == ("<" if is_turned else expected.byte_order)
    assert remarks == ("big endian numbers are written little endian",) * is_turned
    assert found.comments == expected.comments
    names = [p.name for p in found["vertex"].properties]
    assert names[-2:] == ["classification", "confidence"]
    assert len(names) == len(expected["vertex"].properties) + 2
    np.testing.assert_array_equal(found["vertex"]["classification"], CODES)
    np.testing.assert_array_equal(found["vertex"]["confidence"], CONFIDENCE)
    assert found["vertex"]["classification"].dtype == np.uint8
    assert found["vertex"]["confidence"].dtype.newbyteorder("=") == np.float32


@pytest.mark.parametrize("text, byte_order", [(False, "<"), (False, ">"), (True, "=")])
def test_a_property_of_the_same_name_is_replaced_in_its_place(tmp_path, text, byte_order):
    mesh(tmp_path / "a.ply", text=text, byte_order=byte_order)
    old = PlyData.read(str(tmp_path / "a.ply"))
    added = {"label": CONFIDENCE, "time": CODES > 4, "extra": CODES.astype(np.int16)}
    write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / "b.ply", added, {})
    new = PlyData.read(str(tmp_path / "b.ply"))
    names = [p.name for p in old["vertex"].properties]
    assert [p.name for p in new["vertex"].properties] == [*names, "extra"]
    for name in names:
        expected = added.get(name, old["vertex"][name])
        np.testing.assert_array_equal(new["vertex"][name], expected)
    kinds = {p.name: p.val_dtype for p in new["vertex"].properties}
    assert (kinds["label"], kinds["time"], kinds["extra"]) == ("f4", "u1", "i2")
    assert new["face"]["vertex_indices"][1].tolist() == [3, 4, 5, 6]


def test_mapped_files_are_copied_byte_for_byte(tmp_path):
    """Header lines as they are, with their ends; rows; and what stands behind them."""
    lines = [
        b"ply", b"format binary_little_endian 1.0", b"comment caf\xe9", b"obj_info x",
        b"element vertex 2", b"property float32 x", b"comment inside", b"property float y",
        b"property float z", b"property uint8 a", b"element tail 1", b"property uchar a",
        b"end_header", b"",
    ]  # fmt: skip
    rows = np.array([(1, 2, 3, 4), (5, 6, 7, 8)], "<f4,<f4,<f4,u1")
    (tmp_path / "a.ply").write_bytes(
        b"\r\n".join(lines) + rows.tobytes() + b"\x09 and trailing bytes"
    )
    cloud = open_cloud(tmp_path / "a.ply")
    added = {"a": np.array([300, -1], np.int16), "b": np.array([0.5, 2])}
    write_cloud(cloud, tmp_path / "b.ply", added, {7: "sieben\n\x00 Zwerge", 3: "Bäume"})
    lines[9] = b"property short a"
    lines[10:10] = [b"property double b"]
    lines[4:4] = [b"comment class 3 B\\xe4ume", b"comment class 7 sieben \x00 Zwerge"]
    rows = np.array([(1, 2, 3, 300, 0.5), (5, 6, 7, -1, 2)], "<f4,<f4,<f4,<i2,<f8")
    expected = b"\r\n".join(lines) + rows.tobytes() + b"\x09 and trailing bytes"
    assert (tmp_path / "b.ply").read_bytes() == expected


@pytest.mark.parametrize("text, byte_order", [(False, "<"), (False, ">"), (True, "=")])
def test_a_file_labelled_twice_looks_as_if_it_was_labelled_once(tmp_path, text, byte_order):
    mesh(tmp_path / "a.ply", text=text, byte_order=byte_order)
    legend = {2: "ground", 11: "low vegetation"}
    old = {**ADDED, "classification": CODES[::-1] * 99}
    write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / "b.ply", old, {5: "old", 2: "old"})
    write_cloud(open_cloud(tmp_path / "b.ply"), tmp_path / "c.ply", ADDED, legend)
    write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / "d.ply", ADDED, legend)
    assert (tmp_path / "c.ply").read_bytes() == (tmp_path / "d.ply").read_bytes()
    comments = PlyData.read(str(tmp_path / "c.ply")).comments
    assert sorted(comments) == [
        "class 11 low vegetation",
        "class 2 ground",
        "class A",
        "made by hand",
    ]


@pytest.mark.parametrize("source", sorted(WRITERS.keys() - {".ply", ".las", ".laz", ".bin"}))
def test_points_of_every_format(tmp_path, source):
    WRITERS[source](tmp_path / f"a{source}", points())
    write_cloud(open_cloud(tmp_path / f"a{source}"), tmp_path / "b.ply", ADDED, {1: "one"})
    found = PlyData.read(str(tmp_path / "b.ply"))
    assert found.comments == ["class 1 one"] and [e.name for e in found] == ["vertex"]
    expected = {**points(), **ADDED}
    kinds = {p.name: p.val_dtype for p in found["vertex"].properties}
    assert list(kinds) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found["vertex"][name], array)
        is_float64 = name in ("x", "y", "z") or (
            source in (".txt", ".csv", ".xyz", ".asc", ".pts") and name in ("ring", "reflectance")
        )
        assert kinds[name] == ("f8" if is_float64 else array.dtype.str[1:])


def test_points_of_las(tmp_path):
    las = write_las(tmp_path / "a.laz")
    write_cloud(open_cloud(tmp_path / "a.laz"), tmp_path / "b.ply", ADDED, {})
    found = PlyData.read(str(tmp_path / "b.ply"))["vertex"]
    for axis in "xyz":
        np.testing.assert_array_equal(found[axis], np.array(las[axis]))
    for name in las.point_format.dimension_names:
        if name not in ("X", "Y", "Z", "classification"):
            np.testing.assert_array_equal(found[name], np.array(las[name]))
    assert found["red"].dtype == np.uint16
    assert [p.name for p in found.properties].count("classification") == 1
    np.testing.assert_array_equal(found["classification"], CODES)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(NUM) - 5, "i4"),
        (np.arange(NUM) + 2**31, "u4"),
        (np.arange(NUM) - 2**31, "i4"),
        (np.arange(NUM) - 2**31 - 1, "f8"),
        (np.arange(NUM) + 2**53 - NUM + 1, "f8"),
        (np.arange(NUM, dtype=np.uint64), "i4"),
        (np.arange(NUM) > 4, "u1"),
        (CONFIDENCE.astype(np.float16), "f4"),
        (CONFIDENCE.astype(">f8"), "f8"),
    ],
)
def test_types_that_ply_lacks(tmp_path, values, kind):
    np.savez(tmp_path / "a.npz", xyz=coordinates(), id=values, c=CODES.astype(np.uint8))
    write_cloud(open_cloud(tmp_path / "a.npz"), tmp_path / "b.ply", {"again": values}, {})
    found = PlyData.read(str(tmp_path / "b.ply"))["vertex"]
    for name in ("id", "again"):
        assert found.ply_property(name).val_dtype == kind
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("where", ["source", "added"])
@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1])
def test_integers_that_no_type_of_ply_holds(tmp_path, where, value):
    values = np.full(NUM, value)
    extra = {"id": values} if where == "source" else {}
    np.savez(tmp_path / "a.npz", xyz=coordinates(), **extra)
    added = {} if where == "source" else {"id": values}
    with pytest.raises(
        ValueError, match=rf"a\.npz: no type of ply holds the column id, .* {value} "
    ):
        write_cloud(open_cloud(tmp_path / "a.npz"), tmp_path / "b.ply", added, {})
    assert not (tmp_path / "b.ply").exists()


def test_names_that_ply_cannot_hold(tmp_path):
    lines = ["X;Y;Z;Return Number;Höhe;return_Number;Return_Number", *["1;2;3;4;5;6;7"] * NUM]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    added = {"prob. of tree": CONFIDENCE, "H_he": CODES}
    remarks = write_cloud(open_cloud(tmp_path / "a.csv"), tmp_path / "b.ply", added, {})
    names = ["Return_Number", "H_he_1", "return_Number", "Return_Number_1", "prob._of_tree", "H_he"]
    found = PlyData.read(str(tmp_path / "b.ply"))["vertex"]
    assert [p.name for p in found.properties] == ["x", "y", "z", *names]
    assert [found[name][0] for name in names[:4]] == [4, 5, 6, 7]
    assert set(remarks) == {
        "the column 'Return Number' is the property Return_Number",
        "the column 'Höhe' is the property H_he_1",
        "the column 'Return_Number' is the property Return_Number_1",
        "the column 'prob. of tree' is the property prob._of_tree",
    }
    assert open_cloud(tmp_path / "b.ply").columns.keys() == set(names)


@pytest.mark.parametrize(
    ("values", "kind"),
    [(np.float32(255.0), "u1"), (np.float32(0.5), "f4"), (np.float64(256), "f8"),
     (np.int64(7), "u1"), (np.int64(-1), "i4"), (np.uint16(7), "u2"), (np.uint8(7), "u1")],
)  # fmt: skip
def test_colors_of_whole_numbers_are_bytes(tmp_path, values, kind):
    np.savez(tmp_path / "a.npz", xyz=coordinates(), red=np.resize(values, NUM), ring=np.ones(NUM))
    write_cloud(open_cloud(tmp_path / "a.npz"), tmp_path / "b.ply", {}, {})
    found = PlyData.read(str(tmp_path / "b.ply"))["vertex"]
    assert (found.ply_property("red").val_dtype, found.ply_property("ring").val_dtype) == (
        kind,
        "f8",
    )
    assert (found["red"] == values).all()


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]), max_size=5),
    added=st.lists(st.sampled_from(["c0", "c1", "c7", "c8"]), unique=True),
    num=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_any_columns(tmp_path_factory, kinds, added, num, seed):
    folder = tmp_path_factory.mktemp("ply")
    rng = np.random.default_rng(seed)
    columns = {axis: rng.normal(size=num) for axis in "xyz"}
    for i, kind in enumerate(kinds):
        raw = rng.integers(0, 256, num * np.dtype(kind).itemsize, dtype=np.uint8)
        columns[f"c{i}"] = raw.view(kind)
    new = {name: rng.normal(size=num) for name in added}
    PlyData([PlyElement.describe(table(columns), "vertex")], byte_order="<").write(folder / "a.ply")
    write_cloud(open_cloud(folder / "a.ply"), folder / "b.ply", new, {})
    names = [n for n in columns if n not in "xyz"]
    names += [n for n in added if n not in names]
    cloud = open_cloud(folder / "b.ply")
    assert list(cloud.columns) == names
    found = read_cloud(folder / "b.ply", names)
    for name in names:
        expected = new.get(name, columns.get(name))
        assert found.columns[name].tobytes() == expected.tobytes()


def test_points_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("pc3d.io.clouds.ply_writer.CHUNK", 7)
    mesh(tmp_path / "a.ply")
    write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / "b.ply", ADDED, {})
    assert_copied(PlyData.read(str(tmp_path / "b.ply")), PlyData.read(str(tmp_path / "a.ply")))
    np.testing.assert_array_equal(
        read_cloud(tmp_path / "b.ply", ADDED).columns["confidence"], CONFIDENCE
    )
    np.savez(tmp_path / "c.npz", **points())
    write_cloud(open_cloud(tmp_path / "c.npz"), tmp_path / "d.ply", ADDED, {})
    np.testing.assert_array_equal(read_cloud(tmp_path / "d.ply").xyz[:, 0], points()["x"])
    assert points()["x"].min() >= X
    np.testing.assert_array_equal(
        read_cloud(tmp_path / "d.ply", ADDED).columns["confidence"], CONFIDENCE
    )
