"""Triangles of meshes, and normals against those of solids."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pc3d.io.mesh import read_triangles, vertex_normals
from pc3d.io.ply import write_vertices

XYZ = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 5.0]])
# of a tetrahedron, counter-clockwise from outside
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def write(path, faces=FACES, xyz=XYZ):
    write_vertices(path, {a: xyz[:, i].astype(np.float32) for i, a in enumerate("xyz")}, faces)


def write_with_plyfile(path, faces, name="vertex_indices", text=False, byte_order="<", more=()):
    vertices = np.array([tuple(p) for p in XYZ], dtype=[(a, "f4") for a in "xyz"])
    corners = np.empty(len(faces), dtype=[(name, "O"), *more])
    for row, face in enumerate(faces):
        corners[name][row] = np.array(face, dtype="i4")
        for field, _ in more:
            corners[field][row] = np.array([0.5, 0.25], dtype="f4")
    elements = [
        PlyElement.describe(vertices, "vertex"),
        PlyElement.describe(corners, "face", val_types={name: "i4"}),
    ]
    PlyData(elements, text=text, byte_order=byte_order).write(str(path))


def test_triangles_that_we_write(tmp_path):
    write(tmp_path / "a.ply")
    found = read_triangles(tmp_path / "a.ply")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, FACES)


@pytest.mark.parametrize("name", ["vertex_indices", "vertex_index"])
@pytest.mark.parametrize("text, byte_order", [(False, "<"), (False, ">"), (True, "=")])
def test_triangles_that_others_write(tmp_path, name, text, byte_order):
    write_with_plyfile(tmp_path / "a.ply", FACES, name, text, byte_order)
    np.testing.assert_array_equal(read_triangles(tmp_path / "a.ply"), FACES)


def test_triangles_with_texture_coordinates(tmp_path):
    write_with_plyfile(tmp_path / "a.ply", FACES, more=[("texcoord", "O")])
    np.testing.assert_array_equal(read_triangles(tmp_path / "a.ply"), FACES)


def test_no_faces(tmp_path):
    write(tmp_path / "a.ply", None)
    write(tmp_path / "b.ply", np.empty((0, 3), int))
    for name in "ab":
        assert read_triangles(tmp_path / f"{name}.ply").shape == (0, 3)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("faces", [[[0, 1, 2, 3]], [[0, 1, 2], [0, 1]]])
def test_other_polygons(tmp_path, faces, text):
    write_with_plyfile(tmp_path / "a.ply", faces, text=text)
    with pytest.raises(ValueError, match=r"a\.ply: .*triangles"):
        read_triangles(tmp_path / "a.ply")


@pytest.mark.parametrize("face", [[0, 1, 4], [0, -1, 2]])
def test_corners_that_are_no_vertices(tmp_path, face):
    write(tmp_path / "a.ply", np.array([[0, 1, 2], face]))
    with pytest.raises(ValueError, match=r"a\.ply: faces must be triangles of vertices"):
        read_triangles(tmp_path / "a.ply")


def test_cut_off_within_the_faces(tmp_path):
    write(tmp_path / "a.ply")
    content = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(content[:-5])
    with pytest.raises(ValueError, match=r"a\.ply: damaged faces"):
        read_triangles(tmp_path / "a.ply")


def test_normals_are_weighted_by_area():
    """By hand: at the origin meet triangles of area 1 (down), 5 (-y) and 2.5 (-x)."""
    normals = vertex_normals(XYZ, FACES)
    expected = np.array([-2.5, -5.0, -1.0])
    np.testing.assert_allclose(normals[0], expected / np.linalg.norm(expected), rtol=1e-6)
    # At (2, 0, 0): down 1, -y 5, and the slanted one, 0.5 * (-2, 1, 0) x (-2, 0, 5) = (2.5, 5, 1).
    np.testing.assert_allclose(normals[1], np.array([1, 0, 0]), atol=1e-6)
    assert normals.dtype == np.float32


def test_normals_do_not_depend_on_the_place_of_the_mesh():
    near = XYZ * 0.37
    far = near + np.array([4_000_000.0, -7_000_000.0, 100.0])
    np.testing.assert_allclose(vertex_normals(far, FACES), vertex_normals(near, FACES), atol=1e-6)


def test_vertices_without_area_point_up():
    xyz = np.concatenate([XYZ, [[9, 9, 9], [1, 1, 1]]])
    flat = np.array([[4, 4, 5]])  # a triangle of no area
    normals = vertex_normals(xyz, np.concatenate([FACES, flat]))
    assert normals[4:].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert vertex_normals(XYZ, np.empty((0, 3), int)).tolist() == [[0, 0, 1]] * 4
