"""The room generator: determinism, completeness, ScanNet's layout, and real occlusion."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from data_prep import synthetic
from data_prep.rooms import categories as cat
from data_prep.rooms import layout, scanner
from data_prep.rooms.layout import PAIRS, ROOM_TYPES, Room, furnish
from data_prep.rooms.materials import Material
from data_prep.rooms.mesh import bundled
from data_prep.rooms.raycast import hit_distance, normals
from data_prep.rooms.scanner import scan
from data_prep.rooms.shapes import (
    Furniture,
    Kind,
    Shape,
    bounds,
    bowl,
    box,
    cylinder,
    ellipsoid,
    quad,
    rotation_about,
    tube,
)
from data_prep.synthetic import MARKER, generate, main
from pc3d.data.specs import SCANNET20
from pc3d.io.ply import read_vertices

GREY = Material((0.5, 0.5, 0.5))
COUNTS = {"num_train": 2, "num_val": 1, "num_test": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return generate(tmp_path_factory.mktemp("rooms") / "set", **COUNTS, num_workers=0)


def _digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _scene(root: Path, name: str) -> Path:
    return root / "scans" / name / name


# The set


def test_same_settings_give_the_same_bytes_in_any_number_of_processes(root, tmp_path):
    again = generate(tmp_path, **COUNTS, num_workers=2)
    assert _digests(again) == _digests(root)


def test_a_scene_does_not_depend_on_how_many_there_are(root, tmp_path):
    more = _digests(generate(tmp_path, num_train=3, num_val=0, num_test=0, num_workers=0))
    first = {name: d for name, d in _digests(root).items() if "scans/scene000" in name}
    assert len(first) == 10 and first.items() <= more.items()


def test_scenes_differ_by_seed_split_and_index(root, tmp_path):
    other = generate(tmp_path, num_train=1, num_val=0, num_test=0, seed=1, num_workers=0)
    paths = [*root.rglob("*_vh_clean_2.ply"), *other.rglob("*_vh_clean_2.ply")]
    assert len({path.read_bytes() for path in paths}) == len(paths) == 5


def test_complete_set_is_kept_and_other_settings_replace_it(root, tmp_path):
    settings = {"num_train": 1, "num_val": 0, "num_test": 0, "num_workers": 0}
    generate(tmp_path, **settings)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    generate(tmp_path, **settings)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    generate(tmp_path, **COUNTS, num_workers=0)
    assert _digests(tmp_path) == _digests(root)


def test_interrupted_generation_leaves_the_old_set_or_none(tmp_path, monkeypatch):
    settings = {"num_val": 0, "num_test": 0, "num_workers": 0}
    write_scene = synthetic.write_scene
    written = []

    def interrupted(*arguments):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(arguments)
        write_scene(*arguments)

    monkeypatch.setattr(synthetic, "write_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "new", num_train=2, **settings)
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr(synthetic, "write_scene", write_scene)
    old = _digests(generate(tmp_path / "old", num_train=1, **settings))
    monkeypatch.setattr(synthetic, "write_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "old", num_train=2, **settings)
    assert _digests(tmp_path / "old") == old


def test_marker_is_the_last_file_put_in_place(tmp_path, monkeypatch):
    moved = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda a, b: (moved.append(Path(b).name), replace(a, b))[1]
    )
    generate(tmp_path, num_train=0, num_val=0, num_test=0, num_workers=0)
    assert moved[-1] == MARKER and "scannetv2_val.txt" in moved


def test_scans_of_others_are_not_replaced(tmp_path):
    precious = tmp_path / "scans" / "scene0000_00" / "mine.ply"
    precious.parent.mkdir(parents=True)
    precious.write_text("ply")
    with pytest.raises(FileExistsError, match="will not be replaced"):
        generate(tmp_path, **COUNTS, num_workers=0)
    assert precious.read_text() == "ply"


def test_split_lists(root):
    names = {s: (root / f"scannetv2_{s}.txt").read_text().split() for s in ("train", "val", "test")}
    assert {split: len(scenes) for split, scenes in names.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    every = [scene for scenes in names.values() for scene in scenes]
    assert len({scene[:9] for scene in every}) == 4  # no physical scene in two splits
    assert sorted(every) == sorted(path.name for path in (root / "scans").iterdir())
    assert json.loads((root / MARKER).read_text())["num_points"] == sum(
        len(read_vertices(_scene(root, s).with_name(f"{s}_vh_clean_2.ply"))["x"]) for s in every
    )


def test_counts_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"num_val must be in 0\.\.2500; got -1"):
        generate(tmp_path, num_val=-1)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path, capsys):
    arguments = ["num_train=1", "num_val=0", "num_test=0", "num_workers=0"]
    assert main([f"out={tmp_path}/a=b", *arguments]) == 0
    assert json.loads((tmp_path / "a=b" / MARKER).read_text())["num_train"] == 1
    assert main([f"out={tmp_path}", "num_trian=1"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "num_trian=1" in error and "num_train, num_val, num_test, seed, num_workers" in error
    assert main([f"out={tmp_path}", "seed=one"]) == 2
    assert main(["seed=1"]) == 2


# The files of a scene


def test_vertices_and_labels(root):
    base = _scene(root, "scene0000_00")
    mesh = read_vertices(base.with_name(f"{base.name}_vh_clean_2.ply"))
    labels = read_vertices(base.with_name(f"{base.name}_vh_clean_2.labels.ply"))
    kinds = {"x": "float32", "y": "float32", "z": "float32"}
    kinds |= dict.fromkeys(("red", "green", "blue", "alpha"), "uint8")
    assert {name: str(array.dtype) for name, array in mesh.items()} == kinds
    assert {name: str(array.dtype) for name, array in labels.items()} == kinds | {"label": "uint16"}
    assert all((mesh[name] == labels[name]).all() for name in mesh)
    assert 30_000 < len(mesh["x"]) < 70_000
    classes = SCANNET20.to_class(labels["label"], "scene0000_00")
    assert len(set(classes.tolist()) - {-1}) >= 12
    floor = mesh["z"][labels["label"] == cat.FLOOR.nyu40]
    assert np.abs(np.median(floor)) < 0.1 and np.ptp(np.quantile(floor, (0.01, 0.99))) < 0.1


def test_aggregation_agrees_with_labels(root):
    base = _scene(root, "scene0001_00")
    labels = read_vertices(base.with_name(f"{base.name}_vh_clean_2.labels.ply"))["label"]
    segments = json.loads(base.with_name(f"{base.name}_vh_clean_2.0.010000.segs.json").read_text())
    groups = json.loads(base.with_name(f"{base.name}.aggregation.json").read_text())
    assert segments["sceneId"] == base.name and groups["sceneId"] == f"scannet.{base.name}"
    index = np.array(segments["segIndices"])
    assert len(index) == len(labels)
    nyu40 = {c.name: c.nyu40 for c in vars(cat).values() if isinstance(c, tuple)}
    covered = np.zeros(len(labels), dtype=bool)
    for number, group in enumerate(groups["segGroups"]):
        inside = np.isin(index, group["segments"])
        assert group["objectId"] == number and not (covered & inside).any()
        assert set(labels[inside].tolist()) == {nyu40[group["label"]]}
        covered |= inside
    assert (labels[~covered] == 0).all()


def test_axis_alignment_is_the_identity(root):
    base = _scene(root, "scene0000_00")
    facts = dict(line.split(" = ") for line in base.with_suffix(".txt").read_text().splitlines())
    matrix = np.array(facts["axisAlignment"].split(), dtype=float).reshape(4, 4)
    np.testing.assert_array_equal(matrix, np.eye(4))


# The rooms


@pytest.mark.parametrize("start", range(5))
def test_any_five_rooms_have_every_type(start):
    types = [kind for k in range(5) for kind in PAIRS[(start + k) % len(PAIRS)]]
    assert set(types) == set(ROOM_TYPES)


def test_every_class_stands_in_any_five_rooms_and_inside_their_walls():
    rooms = [furnish(np.random.default_rng(index), index) for index in range(5)]
    present = {item.category.nyu40 for room in rooms for item in room.furniture}
    assert set(SCANNET20.raw_ids) <= present
    for room in rooms:
        assert 9.0 < room.size[0] * room.size[1] < 30.0
        for item in room.furniture:
            if item.category not in (cat.WALL, cat.FLOOR, cat.CEILING):
                low, high = bounds([item])
                assert (low > -0.25).all() and (high < room.size + 0.25).all(), item.category


def test_groups_do_not_overlap():
    """Every object lies in a reserved box, and no two reserved boxes meet."""
    plan = layout._Plan(np.random.default_rng(0), np.array([6.0, 5.0, 2.3]))
    assert layout._fill(plan, (ROOM_TYPES[PAIRS[0][0]], ROOM_TYPES[PAIRS[0][1]]))
    reserved = np.stack(plan.reserved)
    for k, (low, high) in enumerate(reserved):
        others = np.delete(reserved, k, axis=0)
        apart = (others[:, 1] <= low) | (others[:, 0] >= high)
        assert apart.any(axis=1).all()
    for item in plan.furniture:
        low, high = bounds([item])
        assert ((reserved[:, 0] <= low) & (reserved[:, 1] >= high)).all(axis=1).any()


def test_windows_cover_every_ray_that_hits():
    """Culling must not lose a hit: cells outside of a shape's window miss the shape."""
    grid = round(float(np.ptp(scanner.ELEVATION)) / scanner.STEP), round(2 * np.pi / scanner.STEP)
    elevation = scanner.ELEVATION[0] + scanner.STEP * (np.arange(grid[0])[:, None] + 0.5)
    azimuth = np.broadcast_to(scanner.STEP * (np.arange(grid[1]) + 0.5), grid)
    flat = np.cos(elevation)
    up = np.broadcast_to(np.sin(elevation), grid)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up])
    rng = np.random.default_rng(0)
    num_partial = 0
    for kind, shape in _shapes().items():
        for center in rng.uniform(-2.0, 2.0, (8, 3)):
            moved = shape.turned(rotation_about("x", 0.5)).shifted(center)
            eye = np.array([0.0, 0.0, 1.5])
            hit = np.isfinite(hit_distance(moved, eye, rays.reshape(3, -1))).reshape(grid)
            window = np.zeros(grid, dtype=bool)
            window[scanner._window(moved, eye, grid)] = True
            assert not (hit & ~window).any(), kind
            num_partial += hit.any() and not window.all()
    assert num_partial > 20


def test_what_stands_behind_a_screen_is_not_seen():
    """A box, half of it behind a closed screen from everywhere the scanner can stand."""
    screen = box(GREY, (0.0, 1.5, 0.0), (4.0, 1.6, 3.0))
    front = box(GREY, (1.0, 0.8, 0.0), (1.4, 1.0, 0.4))
    hidden = box(GREY, (2.0, 2.0, 0.0), (2.4, 2.4, 0.4))
    room_floor = box(GREY, (0.0, 0.0, -0.1), (4.0, 3.0, 0.0))
    parts = (screen, front, hidden, room_floor)
    furniture = tuple(Furniture(cat.TABLE, (shape,)) for shape in parts)
    # The far half is an obstacle, so that every standpoint is on the near side.
    obstacles = np.array([[[0.0, 1.4, 0.0], [4.0, 3.0, 3.0]]])
    room = Room(np.array([4.0, 3.0, 2.5]), furniture, obstacles)
    result = scan(np.random.default_rng(0), room)
    seen = np.bincount(result.instance, minlength=4)
    assert seen[2] == 0 and seen[0] > 500 and seen[1] > 100 and seen[3] > 1000


def test_density_falls_with_distance():
    floor = Furniture(cat.FLOOR, (box(GREY, (-6.0, -6.0, -0.1), (7.0, 7.0, 0.0)),))
    room = Room(np.array([1.0, 1.0, 2.5]), (floor,), np.empty((0, 2, 3)))
    xyz = scan(np.random.default_rng(0), room).xyz
    # All standpoints are within 0.3 m of each other, right above the densest place.
    radius = np.linalg.norm(xyz[:, :2] - np.median(xyz[:, :2], axis=0), axis=1)
    rings = np.histogram(radius, bins=[0.8, 1.6, 2.4, 3.2])[0] / np.diff(
        np.array([0.8, 1.6, 2.4, 3.2]) ** 2
    )
    assert (np.diff(rings) < 0).all() and rings[0] > 3 * rings[2]


# Rays


def _shapes() -> dict[Kind, Shape]:
    return {
        Kind.BOX: box(GREY, (-0.2, -0.3, -0.4), (0.2, 0.3, 0.4)),
        Kind.CYLINDER: cylinder(GREY, (0.0, 0.0, -0.4), (0.2, 0.3), 0.8),
        Kind.TUBE: tube(GREY, (0.0, 0.0, -0.4), (0.2, 0.3), 0.8),
        Kind.SPHERE: ellipsoid(GREY, (0.0, 0.0, 0.0), (0.2, 0.3, 0.4)),
        Kind.BOWL: bowl(GREY, (0.0, 0.0, 0.0), (0.2, 0.3, 0.4)),
        Kind.QUAD: quad(GREY, (0.0, 0.0, 0.0), (0.2, 0.0, 0.0), (0.0, 0.3, 0.1)),
        Kind.MESH: Shape(Kind.MESH, np.zeros(3), np.diag([0.2, 0.3, 0.4]), GREY, bundled(_cube(5))),
    }


def _cube(num: int) -> np.ndarray:
    """[T, 3, 3] triangles of the surface of [-1, 1]^3, `num` squares along each edge."""
    edges = np.linspace(-1.0, 1.0, num + 1)
    squares = [(edges[i : i + 2], edges[j : j + 2]) for i in range(num) for j in range(num)]
    triangles = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            for (a0, a1), (b0, b1) in squares:
                for corners in ([(a0, b0), (a1, b0), (a1, b1)], [(a0, b0), (a1, b1), (a0, b1)]):
                    triangles.append(np.insert(np.array(corners), axis, side, axis=1))
    return np.stack(triangles)


def _surface_error(kind: Kind, local: np.ndarray) -> np.ndarray:
    """How far local points are from the unit solid's surface, from the definitions in `Kind`."""
    u, v, w = local
    round_, ball = np.hypot(u, v), np.sqrt(u**2 + v**2 + w**2)
    inside_height = np.maximum(np.abs(w) - 1, 0)
    match kind:
        case Kind.BOX | Kind.MESH:
            return np.abs(np.abs(local).max(axis=0) - 1)
        case Kind.CYLINDER:
            return np.abs(np.maximum(round_, np.abs(w)) - 1)
        case Kind.TUBE:
            return np.abs(round_ - 1) + inside_height
        case Kind.SPHERE:
            return np.abs(ball - 1)
        case Kind.BOWL:
            return np.abs(ball - 1) + np.maximum(w, 0)
        case _:
            return np.maximum(np.abs(local[:2]).max(axis=0) - 1, 0) + np.abs(w) * 1e-3


def _crosses(kind: Kind, local: np.ndarray) -> np.ndarray:
    """Whether the surface lies between consecutive samples; local [3, steps, rays]."""
    u, v, w = local
    match kind:
        case Kind.BOX | Kind.MESH:
            inside, counts = np.abs(local).max(axis=0) <= 1, True
        case Kind.CYLINDER:
            inside, counts = (np.hypot(u, v) <= 1) & (np.abs(w) <= 1), True
        case Kind.TUBE:
            inside, counts = np.hypot(u, v) <= 1, np.abs(w[1:]) <= 1
        case Kind.SPHERE:
            inside, counts = u**2 + v**2 + w**2 <= 1, True
        case Kind.BOWL:
            inside, counts = u**2 + v**2 + w**2 <= 1, w[1:] <= 0
        case _:
            inside, counts = w <= 0, np.abs(local[:2, 1:]).max(axis=0) <= 1
    return (inside[1:] != inside[:-1]) & counts


@pytest.mark.parametrize("kind", list(Kind))
def test_first_hit_is_where_a_march_in_small_steps_crosses_the_surface(kind):
    turn = rotation_about("z", 0.7) @ rotation_about("x", 0.4)
    shape = _shapes()[kind].turned(turn).shifted((0.3, -0.2, 0.1))
    rng = np.random.default_rng(1)
    eye = np.array([1.5, -1.0, 1.2])
    target = shape.center + rng.uniform(-0.6, 0.6, (200, 3))
    rays = (target - eye).T / np.linalg.norm(target - eye, axis=1)
    t = hit_distance(shape, eye, rays)
    steps = np.linspace(0.0, 4.0, 4001)
    along = eye[:, None, None] + steps[:, None] * rays[:, None, :] - shape.center[:, None, None]
    crossing = _crosses(kind, np.einsum("jsr,jk->ksr", along, np.linalg.inv(shape.axes)))
    marched = np.where(crossing.any(axis=0), steps[crossing.argmax(axis=0)], np.inf)
    assert 20 < np.isfinite(t).sum() < 190
    with np.errstate(invalid="ignore"):
        agree = (t == marched) | (np.abs(t - marched) < 0.002)
    # A ray that passes an edge within one step of 1 mm may be judged either way.
    assert (~agree).sum() <= 1


@pytest.mark.parametrize("kind", list(Kind))
def test_normals_stand_on_the_surface(kind):
    """Against differences: moving along the tangents leaves the surface only quadratically."""
    shape = _shapes()[kind].turned(rotation_about("y", 0.5))
    rng = np.random.default_rng(2)
    eye = np.array([1.0, 1.3, 1.1])
    rays = (rng.uniform(-0.15, 0.15, (300, 3)) - eye).T
    rays /= np.linalg.norm(rays, axis=0)
    t = hit_distance(shape, eye, rays)
    points = eye[:, None] + (t * rays)[:, np.isfinite(t)]
    normal = normals(shape, points)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1.0)
    tangent = np.cross(normal.T, rng.normal(size=normal.T.shape)).T
    tangent *= 1e-4 / np.linalg.norm(tangent, axis=0)
    local = ((points + tangent - shape.center[:, None]).T @ np.linalg.inv(shape.axes)).T
    # Points within 1e-4 of an edge may step over it.
    assert np.quantile(_surface_error(kind, local), 0.95) < 1e-5
