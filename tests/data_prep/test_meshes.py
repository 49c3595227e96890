"""Furniture meshes: reading OBJ, rays on triangles, and rooms that hold them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.rooms import categories as cat
from data_prep.rooms.layout import Room, furnish
from data_prep.rooms.materials import Material
from data_prep.rooms.mesh import bundled, hit_mesh
from data_prep.rooms.models import category_of, open_library, with_models
from data_prep.rooms.obj import read_materials, read_obj
from data_prep.rooms.scanner import scan
from data_prep.rooms.shapes import Furniture, Kind, bounds, box, rotation_about
from data_prep.synthetic import generate, main
from data_prep.whole_set import MARKER
from pc3d.io.ply import read_vertices

# A seat of 1 x 0.5 x 1 with a back to y = 2 at z = -0.5: OBJ's y is up, its front is +z.
CHAIR = """\
# a comment
mtllib chair.mtl
o seat
v -0.5 0 -0.5
v 0.5 0 -0.5
v 0.5 0 0.5
v -0.5 0 0.5
v -0.5 0.5 -0.5
v 0.5 0.5 -0.5
v 0.5 0.5 0.5
v -0.5 0.5 0.5
vt 0 0
vn 0 1 0
usemtl red
f 5/1/1 6/1/1 7/1/1 8/1/1
f -8 -7 -6 -5
f 4//1 3//1 7//1 8//1
v -0.5 2 -0.5
v 0.5 2 -0.5
usemtl fabric
f 5 6 \\
  10 9
"""
MATERIALS = "newmtl red\nKd 1.0 0.0 0.0\nnewmtl fabric\nKd 0.8 0.8 0.8\nmap_Kd fabric.png\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    chairs = tmp_path / "models" / "chairs"
    chairs.mkdir(parents=True)
    (chairs / "garden_chair_2.obj").write_text(CHAIR)
    (chairs / "chair.mtl").write_text(MATERIALS)
    return tmp_path / "models"


# Files


def test_read_obj(folder):
    red, fabric = read_obj(folder / "chairs" / "garden_chair_2.obj")
    assert red.color == (1.0, 0.0, 0.0) and fabric.color is None
    top, bottom = [-0.5, 0.5, -0.5], [-0.5, 0.0, -0.5]
    assert red.corners.shape == (6, 3, 3)
    np.testing.assert_array_equal(red.corners[0], [top, [0.5, 0.5, -0.5], [0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(red.corners[1], [top, [0.5, 0.5, 0.5], [-0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(red.corners[2], [bottom, [0.5, 0.0, -0.5], [0.5, 0.0, 0.5]])
    np.testing.assert_array_equal(fabric.corners[:, 0], [top, top])
    np.testing.assert_array_equal(fabric.corners[:, 2], [[0.5, 2, -0.5], [-0.5, 2, -0.5]])
    area = 0.5 * np.linalg.norm(_normals(np.concatenate([red.corners, fabric.corners])), axis=1)
    assert area.sum() == pytest.approx(1.0 + 1.0 + 0.5 + 1.5)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("v 1 2", "three finite numbers"),
        ("v 1 nan 2", "three finite numbers"),
        ("v 1 x 2", "could not convert"),
        ("f 1 2 99", "vertex 99 of 10"),
        ("f 1 0 2", "vertex 0 of 10"),
        ("f -11 1 2", "vertex -11 of 10"),
        ("f 1 2 three", "invalid literal"),
        ("f 1", "a face of 1 vertices"),
        ("f 1 2 /3", "invalid literal"),
    ],
)
def test_damaged_lines_are_named(folder, line, reason):
    path = folder / "chairs" / "garden_chair_2.obj"
    path.write_text(f"{CHAIR}{line}\n")
    with pytest.raises(ValueError, match=reason) as error:
        read_obj(path)
    assert f"{path}, line 23: {line!r}" in str(error.value)


def test_faces_of_two_vertices_are_lines(folder):
    path = folder / "chairs" / "garden_chair_2.obj"
    path.write_text(f"{CHAIR}f 1 2\nl 1 2\n")
    assert sum(len(part.corners) for part in read_obj(path)) == 8


def test_files_without_faces_and_missing_materials_are_refused(folder):
    path = folder / "chairs" / "garden_chair_2.obj"
    path.write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"garden_chair_2\.obj: no face"):
        read_obj(path)
    path.write_text(CHAIR.replace("chair.mtl", "other.mtl"))
    with pytest.raises(FileNotFoundError, match=r"other\.mtl"):
        read_obj(path)


def test_materials(tmp_path):
    path = tmp_path / "a.mtl"
    path.write_text(f"{MATERIALS}newmtl dark oak # of the table\n\tKd 0.1 0.2 1.7\nnewmtl bare\n")
    red, oak = (1.0, 0.0, 0.0), (0.1, 0.2, 1.0)
    assert read_materials(path) == {"red": red, "fabric": None, "dark oak": oak, "bare": None}
    path.write_text("newmtl a\nKd 1 1\n")
    with pytest.raises(ValueError, match=r"a\.mtl, line 2: 'Kd 1 1': three finite"):
        read_materials(path)


def _normals(corners: np.ndarray) -> np.ndarray:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


# Rays


def test_first_hits_agree_with_solving_for_each_triangle():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-0.9, 0.9, (90, 1, 3)) + rng.uniform(-0.1, 0.1, (90, 3, 3))
    start = np.array([2.0, -1.5, 0.7])
    target = corners[rng.integers(90, size=150)].mean(axis=1) + rng.normal(0, 0.02, (150, 3))
    directions = target - start
    found = hit_mesh(bundled(corners), start[:, None], directions.T)
    for ray, t in zip(directions, found, strict=True):
        hits = [np.inf]
        for a, b, c in corners:
            s, u, v = np.linalg.solve(np.stack([-ray, b - a, c - a], axis=1), start - a)
            if u >= 0 and v >= 0 and u + v <= 1 and s > 0:
                hits.append(s)
        assert t == pytest.approx(min(hits), rel=1e-9)
    assert 60 < np.isfinite(found).sum() < 150
    behind = hit_mesh(bundled(corners), start[:, None], -directions.T)
    assert np.isinf(behind).all()


def test_flat_and_degenerate_triangles():
    square = np.array(
        [[[-1, -1, 0], [1, -1, 0], [1, 1, 0]], [[-1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]]
    )
    nothing = np.array([[[0, 0, 1], [0, 0, 1], [1, 0, 1.0]]])
    mesh = bundled(np.concatenate([square, nothing]))
    assert len(mesh.corners) == 2
    down = np.array([[0.0], [0.0], [-1.0]])
    assert hit_mesh(mesh, np.array([[0.3], [-0.2], [5.0]]), down).tolist() == [5.0]
    assert hit_mesh(bundled(nothing), np.array([[0.3], [0.0], [5.0]]), down).tolist() == [np.inf]


# Rooms


@pytest.mark.parametrize(
    "stem, category",
    [
        ("chair_A", cat.CHAIR),
        ("armchair_pillows", cat.CHAIR),
        ("osakaChair", cat.CHAIR),
        ("couch_pillows", cat.SOFA),
        ("table_medium_long", cat.TABLE),
        ("bedsideTable2", cat.TABLE),
        ("lbDesk", cat.DESK),
        ("bed_double_A", cat.BED),
        ("shelf_B_large_decorated", cat.BOOKSHELF),
        ("bookcase", cat.BOOKSHELF),
        ("cabinet_small", cat.CABINET),
        ("wardrobeWithSlidingDoors", cat.CABINET),
        ("lamp_table", cat.LAMP),
        ("chair_stool", cat.OTTOMAN),
        ("pictureframe_standing_A", cat.PICTURE),
        ("rug_oval_A", cat.RUG),
        ("largeFridge", cat.REFRIGERATOR),
        ("whiteBoard", cat.BOARD),
        ("embedded", None),
        ("iphone", None),
    ],
)
def test_names_say_what_models_are(stem, category):
    assert category_of(stem) == category


def test_models_fill_the_boxes_of_what_they_replace(folder):
    library = open_library(folder)
    assert len(library) == 1
    room = furnish(np.random.default_rng(0), 0)
    changed = with_models(np.random.default_rng(1), room, library)
    assert len(changed.furniture) == len(room.furniture)
    yaws = []
    for old, new in zip(room.furniture, changed.furniture, strict=True):
        assert new.category == old.category
        if old.category != cat.CHAIR:
            assert new is old
            continue
        own, model = (item.placed(0.0, 0.0, yaw=-old.yaw) for item in (old, new))
        np.testing.assert_allclose(bounds([model]), bounds([own]), atol=1e-9)
        assert {shape.kind for shape in new.shapes} == {Kind.MESH}
        red, fabric = new.shapes
        assert red.material == Material((1.0, 0.0, 0.0))
        assert fabric.material == old.shapes[0].material
        # The back is at the back: y = 0 in the frame of furniture, above the seat.
        low, high = bounds([own])
        corners = model.shapes[1].center + fabric.mesh.corners @ model.shapes[1].axes
        np.testing.assert_allclose(corners[..., 1], low[1], atol=1e-9)
        np.testing.assert_allclose(corners[..., 2].max(), high[2], atol=1e-9)
        np.testing.assert_allclose(
            corners[..., 2].min(), low[2] + np.ptp([low, high], axis=0)[2] / 4
        )
        yaws.append(old.yaw % (2 * np.pi))
    assert len(yaws) >= 2 and np.ptp(yaws) > 0.5


def test_asymmetric_models_are_not_mirrored(tmp_path):
    """A wing at the model's own left, OBJ's +x, is at the left of who looks along its front."""
    wing = "v -1 0 -1\nv 1 0 -1\nv 1 0 1\nv -1 0 1\nv 1 1 0\nv 1 1 1\nf 1 2 3 4\nf 2 5 6 3\n"
    (tmp_path / "chair.obj").write_text(wing)
    item = Furniture(cat.CHAIR, (box(Material((0, 0, 0)), (-1, 0, 0), (1, 2, 1)),))
    room = Room(np.ones(3), (item,), np.empty((0, 2, 3)))
    (shape,) = (
        with_models(np.random.default_rng(0), room, open_library(tmp_path)).furniture[0].shapes
    )
    corners = (shape.center + shape.mesh.corners @ shape.axes).reshape(-1, 3)
    high = corners[corners[:, 2] > 0.5]
    # Front +y and up +z make left -x; the wing reaches from the middle to the front.
    np.testing.assert_allclose(high[:, 0], -1.0)
    assert high[:, 1].min() == pytest.approx(1.0) and high[:, 1].max() == pytest.approx(2.0)


def test_of_several_models_a_fitting_one_is_taken(tmp_path):
    for name, height, num in (("table_low", 0.5, 1), ("table_high", 2, 2), ("table_slab", 0.01, 3)):
        corners = f"v -1 0 -1\nv 1 0 -1\nv 1 {height} 1\nv -1 {height} 1\n"
        (tmp_path / f"{name}.obj").write_text(corners + num * "f 1 2 3\n" + num * "f 1 3 4\n")
    item = Furniture(cat.TABLE, (box(Material((0, 0, 0)), (-0.5, 0, 0), (0.5, 1, 0.3)),))
    room = Room(np.ones(3), (item,), np.empty((0, 2, 3)))
    library = open_library(tmp_path)
    names = {m.path.stem: np.array(m.size) for m in library.models[cat.TABLE]}
    np.testing.assert_allclose(names["table_low"], [2, 2, 0.5])
    chosen = set()
    for seed in range(12):
        changed = with_models(np.random.default_rng(seed), room, library).furniture[0]
        chosen.add(len(changed.shapes[0].mesh.corners))
    assert chosen == {2, 4}  # never the slab, which would be stretched most
    assert np.ptp([bounds([changed])], axis=(0, 1)).round(9).tolist() == [1.0, 1.0, 0.3]


def test_lamps_and_rugs_are_added_where_there_is_room(tmp_path):
    square = "v -1 0 -1\nv 1 0 -1\nv 1 {h} 1\nv -1 {h} 1\nf 1 2 3 4\n"
    (tmp_path / "rug_A.obj").write_text(square.format(h=0.1))
    (tmp_path / "lampStanding.obj").write_text(square.format(h=3.0))
    library = open_library(tmp_path)
    num_lamps = 0
    for index in range(5):
        room = furnish(np.random.default_rng(index), index)
        changed = with_models(np.random.default_rng(index), room, library)
        added = changed.furniture[len(room.furniture) :]
        found = [item.category for item in added]
        assert found in ([cat.RUG], [cat.LAMP, cat.RUG])
        low, high = bounds([added[-1]])
        assert low[2] == pytest.approx(0.0) and high[2] < 0.03 and high[0] - low[0] > 0.7
        for lamp in added[:-1]:
            num_lamps += 1
            low, high = bounds([lamp])
            assert (low > -0.01).all() and (high[:2] < room.size[:2] + 0.01).all()
            apart = (room.obstacles[:, 0] >= high) | (room.obstacles[:, 1] <= low)
            assert apart.any(axis=1).all()
            np.testing.assert_allclose(changed.obstacles[-1], [low, high])
    assert num_lamps >= 3


def test_a_scan_sees_the_mesh(folder):
    """A turned chair alone: its points lie on its triangles and have its colours."""
    grey = Material((0.5, 0.5, 0.5))
    chair = Furniture(cat.CHAIR, (box(grey, (-0.25, 0.0, 0.0), (0.25, 0.5, 0.9)),))
    floor = Furniture(cat.FLOOR, (box(grey, (-1.0, -1.0, -0.1), (5.0, 5.0, 0.0)),))
    placed = chair.placed(2.0, 2.0, yaw=0.7)
    room = Room(np.array([4.0, 4.0, 2.4]), (placed, floor), bounds([placed])[None])
    changed = with_models(np.random.default_rng(0), room, open_library(folder))
    result = scan(np.random.default_rng(0), changed, turn=0.0)
    on_chair = result.instance == 0
    # `scan` shifts to positive x and y; the floor's first corner was at -1.
    xyz = result.xyz[on_chair] + [-1.0, -1.0, 0.0]
    local = (xyz - [2.0, 2.0, 0.0]) @ rotation_about("z", 0.7)
    assert on_chair.sum() > 300
    seat = np.abs(local[:, 2] - 0.9 / 4) < 0.1
    back = np.abs(local[:, 1]) < 0.1
    assert (seat | back | (local[:, 2] < 0.9 / 4)).mean() > 0.98
    assert (back & (local[:, 2] > 0.5)).sum() > 50
    color = result.color[on_chair].astype(int)
    flat = seat & (local[:, 1] > 0.15)
    assert (color[flat, 0] > color[flat, 1] + 60).mean() > 0.95  # red
    upper = back & (local[:, 2] > 0.5)
    assert np.abs(color[upper, 0] - color[upper, 1]).mean() < 30  # the furniture's own grey


def test_generate_with_meshes(folder, tmp_path, capsys):
    counts = {"num_train": 1, "num_val": 0, "num_test": 0, "num_workers": 0}
    plain = generate(tmp_path / "plain", **counts)
    meshed = generate(tmp_path / "meshed", **counts, meshes=folder)
    settings = [json.loads((root / MARKER).read_text()) for root in (plain, meshed)]
    assert "meshes" not in settings[0]
    assert settings[1]["meshes"]["num_models"] == 1 and settings[1]["version"] == 2
    scene = "scans/scene0000_00/scene0000_00_vh_clean_2.labels.ply"
    red = []
    for root in (plain, meshed):
        vertices = read_vertices(root / scene)
        chairs = vertices["label"] == cat.CHAIR.nyu40
        assert chairs.sum() > 300
        difference = vertices["red"].astype(int) - vertices["green"] - vertices["blue"]
        red.append((difference[chairs] > 30).sum())
    assert red[0] < 20 < 200 < red[1]
    before = (meshed / scene).read_bytes()
    generate(meshed, **counts, meshes=folder)
    assert (meshed / scene).read_bytes() == before
    generate(meshed, **counts)
    assert (meshed / scene).read_bytes() == (plain / scene).read_bytes()
    generate(meshed, **counts, meshes=folder)
    (folder / "chairs" / "chair.mtl").write_text(MATERIALS.replace("1.0 0.0", "0.2 0.9"))
    assert open_library(folder).digest != settings[1]["meshes"]["sha256"]
    (folder / "chairs" / "garden_chair_2.obj").write_text(f"{CHAIR}f 1 2 77\n")
    assert main([f"out={meshed}", f"meshes={folder}"]) == 2
    error = " ".join(capsys.readouterr().err.split()).replace(" ", "")
    assert "garden_chair_2.obj,line23:'f1277':vertex77of10" in error
    assert (meshed / scene).read_bytes() == before


def test_folders_without_models_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of OBJ files"):
        open_library(tmp_path / "none")
    (tmp_path / "iphone.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match="none of 1 OBJ files has a name"):
        open_library(tmp_path)


def test_real_models(shared_data):
    library = open_library(shared_data / "meshes" / "kaykit_obj")
    assert len(library) > 40
    for index in (2, 3):
        room = furnish(np.random.default_rng(index), index)
        changed = with_models(np.random.default_rng(0), room, library)
        meshes = [s for item in changed.furniture for s in item.shapes if s.kind is Kind.MESH]
        assert len(meshes) >= 5
        for shape in meshes:
            assert np.abs(shape.mesh.corners).max() == pytest.approx(1.0)
            rows = np.sort(np.concatenate(shape.mesh.bundles))
            assert rows.tolist() == list(range(len(shape.mesh.corners)))
