"""The LiDAR of generated streets: beams, first hits, and what comes back from which surface."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.rooms.raycast import hit_distance
from data_prep.rooms.shapes import Kind, box, ellipsoid, rotation_about
from data_prep.streets import sensor
from data_prep.streets.course import Course
from data_prep.streets.ground import BLOCK, Ground, draw_ground
from data_prep.streets.labels import Label, Thing
from data_prep.streets.sensor import GROUND_HIT, Beams, Pose, scan
from data_prep.streets.sequence import Drive
from data_prep.streets.surfaces import Surface
from pc3d.io.semantickitti import read_labels, read_scan

BEAMS = Beams(60)
FLAT = Course(np.zeros((2, 3)), np.zeros((2, 3)))
# HDL-64E: 32 beams from 2 to -8.33 degrees, 32 more from -8.83 to -24.8 degrees.
ELEVATIONS = [2 - 10.33 * k / 31 for k in range(32)] + [-8.83 - 15.97 * k / 31 for k in range(32)]


@pytest.fixture(scope="module")
def drive() -> Drive:
    return Drive(3, 1, 4.0)


@pytest.fixture(scope="module")
def street_scan(drive):
    """A scan, its things, and every shape with the thing that it belongs to."""
    things = drive.street.things(8.0, drive.time(2))
    shapes = [(thing, shape) for thing in things for shape in thing.shapes]
    return drive.scan(2, BEAMS), drive.pose(2), shapes


def _flat_ground() -> Ground:
    rng = np.random.default_rng(0)
    ground = draw_ground(rng)
    values = {name: getattr(ground, name) for name in Ground.__dataclass_fields__}
    return Ground(**{**values, "course": FLAT, "yard": np.zeros(2)})


def _scan_of(*shapes, num_azimuths=400):
    """A scan of one building on flat ground, the sensor at the origin of the street."""
    pose = Pose(np.array([0.0, 0.0, 1.73]), np.eye(3))
    things = [Thing(Label.BUILDING, shapes)]
    return scan(np.random.default_rng(0), things, _flat_ground(), pose, Beams(num_azimuths))


def _ranges(result):
    return np.linalg.norm(result.points[:, :3].astype(np.float64), axis=1)


# Rays


def test_returns_lie_on_the_beams_of_the_sensor_in_its_order(street_scan):
    points = street_scan[0].points.astype(np.float64)
    elevation = np.degrees(np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1)))
    beam = np.abs(elevation[:, None] - ELEVATIONS).argmin(axis=1)
    assert np.abs(elevation - np.array(ELEVATIONS)[beam]).max() < 0.01
    assert (np.diff(beam) >= 0).all() and len(set(beam.tolist())) == 64
    azimuth = np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)
    assert (np.diff(azimuth)[np.diff(beam) == 0] > 0).all()


def test_rays_cover_the_circle_evenly():
    rays = Beams(100).directions(np.random.default_rng(0))
    assert rays.shape == (3, 64, 100)
    np.testing.assert_allclose((rays**2).sum(axis=0), 1.0)
    azimuth = np.unwrap(np.arctan2(rays[1], rays[0]), axis=1)
    steps = np.degrees(np.diff(azimuth, axis=1))
    assert steps.min() > 3.2 and steps.max() < 4.0
    assert (azimuth[:, 0] >= 0).all() and np.ptp(azimuth[:, 0]) > 0.03  # beams are not in line


@pytest.mark.parametrize("number", [7, 10_001])
def test_number_of_azimuths_is_checked(number):
    with pytest.raises(ValueError, match=f"num_azimuths.*{number}"):
        Beams(number)


# First hits


def _implicit(kind: Kind, local: np.ndarray) -> np.ndarray:
    """Negative inside, positive outside of a unit solid; local coordinates [3, ...]."""
    u, v, w = local
    match kind:
        case Kind.BOX:
            return np.abs(local).max(axis=0) - 1
        case Kind.CYLINDER:
            return np.maximum(np.hypot(u, v), np.abs(w)) - 1
        case Kind.SPHERE:
            return np.sqrt(u**2 + v**2 + w**2) - 1
    raise AssertionError(kind)


def test_every_return_lies_on_what_its_label_says_within_noise(street_scan, drive):
    """Along its ray, within five sigmas, a return crosses its primitive or lies in its leaves."""
    result, pose, shapes = street_scan
    distance = _ranges(result)
    rays = result.points[:, :3].astype(np.float64) / distance[:, None] @ pose.rotation.T
    noise = np.linspace(-5.0, 5.0, 201) * sensor.RANGE_NOISE
    checked = set()
    for row in np.flatnonzero(result.label != Label.OUTLIER):
        along = pose.position[:, None] + rays[row][:, None] * (distance[row] + noise)
        if result.shape[row] == GROUND_HIT:
            u, d = drive.street.ground.course.coordinates(along[0], along[1])
            gap = along[2] - drive.street.ground.height(u, d)
            assert gap.min() < 0.005 and gap.max() > -0.005
            labels = {*drive.street.ground.label(u, d).tolist(), Label.UNLABELED}
            assert int(result.label[row]) in labels
            assert result.instance[row] == 0
            continue
        thing, shape = shapes[result.shape[row]]
        local = np.linalg.inv(shape.axes).T @ (along - shape.center[:, None])
        value = _implicit(shape.kind, local)
        size = np.abs(np.diff(local, axis=1)).max()
        assert value.min() <= size, (thing.label, shape.kind)
        if not shape.material.depth:
            assert value.max() >= -size, (thing.label, shape.kind)
        assert result.label[row] in (thing.label, Label.UNLABELED)
        if result.label[row] != Label.UNLABELED:
            assert result.instance[row] == thing.instance
        checked.add(thing.label)
    assert len(checked) >= 12


def test_nothing_solid_stands_before_a_return(street_scan, drive):
    """Against all shapes without culling: no window loses a hit, nothing is seen through."""
    result, pose, shapes = street_scan
    rows = np.flatnonzero(result.label != Label.OUTLIER)[::7]
    distance = _ranges(result)[rows]
    rays = pose.rotation @ (result.points[rows, :3].astype(np.float64) / distance[:, None]).T
    nearest = np.full(len(rows), np.inf)
    for _, shape in shapes:
        if not shape.material.depth and not shape.material.open:
            nearest = np.minimum(nearest, hit_distance(shape, pose.position, rays))
    assert (nearest > distance - 5 * sensor.RANGE_NOISE).all()
    assert np.isfinite(nearest).sum() > 100
    ground = np.array([_marched(drive.street.ground, pose.position, ray) for ray in rays.T[::9]])
    below = ground < distance[::9] - 0.15
    assert below.mean() < 0.01


def _marched(ground: Ground, origin: np.ndarray, ray: np.ndarray) -> float:
    """Where a ray first is under the ground, in steps of two centimetres."""
    t = np.arange(0.5, 80.0, 0.02)
    x, y, z = origin[:, None] + ray[:, None] * t
    under = z < ground.height(*ground.course.coordinates(x, y))
    return float(t[under.argmax()]) if under.any() else np.inf


def test_ground_is_met_where_a_march_in_small_steps_meets_it():
    """On raised kerbs, slopes and hills; the rare bump that is stepped over is far away."""
    rng = np.random.default_rng(5)
    ground = draw_ground(rng)
    origin = np.array([30.0, float(ground.course.point(np.array([30.0]), np.zeros(1))[0, 1]), 1.9])
    rays = Beams(8).directions(rng).reshape(3, -1)
    found = ground.hit(origin, rays, 80.0)
    marched = np.array([_marched(ground, origin, ray) for ray in rays.T])
    assert (np.isfinite(found) == np.isfinite(marched)).mean() > 0.98
    both = np.isfinite(found) & np.isfinite(marched)
    assert (np.abs(found[both] - marched[both]) < 0.05).mean() > 0.97
    assert both.sum() > 300


# The ground


def test_street_coordinates_are_those_of_the_nearest_point_of_the_line():
    rng = np.random.default_rng(2)
    course = draw_ground(rng).course
    u, d = rng.uniform(-100, 500, 300), rng.uniform(-25, 25, 300)
    x, y = course.point(u, d).T
    found = np.array(course.coordinates(x, y))
    np.testing.assert_allclose(found, [u, d], atol=0.01)
    line = np.arange(-150.0, 550.0, 0.05)
    nodes = course.point(line, np.zeros_like(line))
    nearest = np.sqrt(((nodes[:, None] - np.stack([x, y], axis=1)[::10]) ** 2).sum(axis=2)).min(0)
    np.testing.assert_allclose(np.abs(found[1])[::10], nearest, atol=0.01)
    assert (found[1] > 0).any() and (np.sign(found[1]) == np.sign(d)).all()  # left is positive
    slope = np.gradient(nodes[:, 1], nodes[:, 0])
    np.testing.assert_allclose(np.tan(course.heading(line))[1:-1], slope[1:-1], atol=1e-4)


def test_strips_from_the_middle_outwards():
    values = {name: getattr(_flat_ground(), name) for name in Ground.__dataclass_fields__}
    blocks = len(values["strip"])
    values |= {
        "half_road": 4.0,
        "sidewalk": np.array([2.0, 3.0]),
        "strip": np.tile([Label.PARKING, Label.TERRAIN], (blocks, 1)),
        "front": np.tile([Label.OTHER_GROUND, Label.SIDEWALK], (blocks, 1)),
        "side_street": np.tile([False, True], (blocks, 1)),
        "crossing": np.zeros(blocks, dtype=bool),
        "edge_lines": False,
    }
    ground = Ground(**values)
    # Right: bays from 4 to 6.3 m, sidewalk to 8.3 m. Left: lawn to 6.3 m, sidewalk to 9.3 m.
    d = np.array([-12.0, -7.0, -5.0, -3.0, 0.01, 3.0, 5.0, 7.0, 12.0])
    u = np.full(len(d), 5 * BLOCK + 21.0)
    L = Label
    expected = [L.OTHER_GROUND, L.SIDEWALK, L.PARKING, L.ROAD]
    expected += [L.ROAD, L.ROAD, L.TERRAIN, L.SIDEWALK, L.SIDEWALK]
    dashed = u - u % 8 + 1.0
    assert ground.label(u - u % 8 + 5.0, d).tolist() == expected
    assert ground.label(dashed, d).tolist()[4] == L.LANE_MARKING
    raised = ground.height(u, d) > 0.05
    assert raised.tolist() == [True, True, False, False, False, False, True, True, True]
    inside = np.full(len(d), 5 * BLOCK + 5.0)  # a side street to the left
    assert ground.label(inside, d).tolist()[5:] == [L.ROAD] * 4
    assert (ground.height(inside, d)[4:] == 0).all() and ground.height(inside, d)[0] > 0.05


# What comes back


def test_absent_rays_leave_holes_and_open_ones_go_on():
    front, back = ((12.0, -7.0, 0.9), (12.1, 7.0, 2.0)), ((20.0, -14.0, 0.0), (20.1, 14.0, 3.0))
    wall = box(Surface(0.5), *back)

    def counts(surface: Surface) -> tuple[int, int]:
        result = _scan_of(box(surface, *front), wall)
        before = result.shape == 0
        return int(before.sum()), int((result.shape == 1).sum())

    solid, visible = counts(Surface(0.5))
    assert solid > 300
    absent, behind = counts(Surface(0.5, absent=0.75))
    assert 0.2 < absent / solid < 0.3 and behind == visible
    passed, behind = counts(Surface(0.5, open=0.6))
    assert 0.35 < passed / solid < 0.45
    assert abs((behind - visible) / (solid - passed) - 1) < 0.1


def test_leaves_return_from_within():
    leaves = Surface(0.5, depth=0.5)
    block = box(leaves, (10.0, -3.0, 0.3), (30.0, 3.0, 2.2))
    result = _scan_of(block)
    inside = result.points[result.shape == 0, 0].astype(np.float64) - 10.0
    assert len(inside) > 300 and inside.min() > -0.1
    assert 0.4 < inside.mean() < 0.6  # the rays run almost along x
    thin = box(leaves, (10.0, -3.0, 0.3), (10.1, 3.0, 2.2))
    share = (_scan_of(thin).shape == 0).sum() / len(inside)
    assert 0.13 < share < 0.23  # 1 - exp(-0.1 / 0.5) = 0.18
    ball = ellipsoid(Surface(0.5, depth=0.1), (12.0, 0.0, 1.2), (1.0, 0.5, 0.8))
    result = _scan_of(ball, num_azimuths=1000)
    points = result.points[result.shape == 0].astype(np.float64)
    local = (points[:, :3] + [-12.0, 0.0, 1.73 - 1.2]) / [1.0, 0.5, 0.8]
    assert len(points) > 100 and (np.linalg.norm(local, axis=1) < 1.1).all()


def test_dark_far_and_grazed_surfaces_return_less():
    def share(reflectivity: float, distance: float) -> float:
        """Returns of a wall of the same angular size at any distance."""
        half = 0.3 * distance
        low = distance, -half, 1.73 - 0.02 * distance
        high = distance + 0.1, half, 1.73 + 0.03 * distance
        result = _scan_of(box(Surface(reflectivity), low, high))
        return (result.shape == 0).sum() / num_rays

    num_rays = 1.0
    num_rays = share(1.0, 10.0)
    assert share(0.02, 10.0) > 0.95 > 0.4 > share(0.02, 70.0)
    assert share(0.3, 70.0) > 0.9
    road = _scan_of()
    ranges = _ranges(road)
    rings = np.array([((ranges > a) & (ranges < b)).any() for a, b in ((20, 30), (30, 45))])
    assert rings.all() and 45 < ranges.max() < 79


def test_remission_names_materials():
    def remission(surface: Surface, turn: float = 0.0) -> float:
        wall = box(surface, (-0.1, -1.5, -1.0), (0.1, 1.5, 1.0))
        wall = wall.turned(rotation_about("z", turn)).shifted((10.0, 0.0, 1.7))
        result = _scan_of(wall)
        return float(result.points[result.shape == 0, 3].mean())

    plate, stone, dark = (remission(Surface(r, gloss=0.1)) for r in (0.95, 0.5, 0.1))
    assert plate > 0.85 > 0.55 > stone > 0.4 > 0.15 > dark > 0.05
    assert remission(Surface(0.5, gloss=0.9), 1.0) < 0.15 < 0.4 < remission(Surface(0.5, gloss=0.9))
    assert remission(Surface(0.5, gloss=0.0), 1.0) > 0.4
    values = _scan_of(box(Surface(0.5), (9, -1, 0), (9.1, 1, 2))).points[:, 3]
    assert values.min() >= 0 and values.max() <= 1
    np.testing.assert_allclose(values * 100, np.rint(values * 100), atol=1e-4)


def test_ranges_are_noisy_but_unbiased():
    result = _scan_of(box(Surface(0.6), (10.0, -5.0, 0.0), (10.1, 5.0, 3.0)))
    error = result.points[(result.shape == 0) & (result.label == Label.BUILDING), 0] - 10.0
    assert abs(error.mean()) < 0.002 and 0.01 < error.std() < 0.02


def test_far_returns_are_partly_unlabelled_and_few_are_outliers(drive):
    wall = box(Surface(0.6), (-76.0, -76.0, 0.0), (76.0, 76.0, 6.0))
    ring = [wall.shifted((140.0, 0.0, 0.0)), box(Surface(0.6), (20, -5, 0), (21, 5, 3))]
    result = _scan_of(*ring)
    unlabelled = result.label == Label.UNLABELED
    assert _ranges(result)[unlabelled].min() > 54.0
    far = _ranges(result) > 56.0
    assert 0.5 < unlabelled[far].mean() < 0.8
    outliers = result.label == Label.OUTLIER
    assert 0 < outliers.mean() < 1e-3
    assert (result.instance[outliers | unlabelled] == 0).all()
    assert _ranges(result).max() < 80.0


def test_scans_resemble_a_real_one(shared_data):
    """Share of rays that return, ranges, height of the road, and remission by material."""
    folder = shared_data / "semantickitti" / "sequences" / "00"
    points = read_scan(folder / "velodyne" / "000000.bin").astype(np.float64)
    semantic = read_labels(folder / "labels" / "000000.label", len(points)).semantic
    scans = [Drive(0, sequence, 1.0).scan(sequence, Beams(200)) for sequence in (0, 1, 5)]
    made = np.concatenate([result.points for result in scans]).astype(np.float64)
    label = np.concatenate([result.label for result in scans])
    assert 0.85 < len(made) / (3 * 200) / (len(points) / 2083) < 1.1
    quartiles = [np.quantile(np.linalg.norm(p[:, :3], axis=1), (0.25, 0.5, 0.75)) for p in
                 (points, made)]  # fmt: skip
    assert np.abs(np.log(quartiles[1] / quartiles[0])).max() < np.log(1.6)
    for name in (Label.ROAD, Label.SIDEWALK, Label.BUILDING, Label.VEGETATION):
        real, ours = points[semantic == name], made[label == name]
        assert abs(np.median(real[:, 3]) - np.median(ours[:, 3])) < 0.12
        assert 0.25 < len(ours) / len(made) / (len(real) / len(points)) < 4.0
    near = [(np.abs(p[:, :2]) < 6.0).all(axis=1) for p in (points, made)]
    real_road = np.median(points[near[0] & (semantic == Label.ROAD), 2])
    assert abs(real_road - np.median(made[near[1] & (label == Label.ROAD), 2])) < 0.15
