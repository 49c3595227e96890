"""LaserMix and PolarMix against loops; every point is tagged by its intensity."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import atan2, degrees, hypot, pi

import numpy as np
import pytest

from pc3d.data.sample import PointSample
from pc3d.data.specs import SEMANTICKITTI19
from pc3d.data.transforms import LaserMix, OneOf, PolarMix
from pc3d.data.transforms.mixing import class_indices, join

THINGS = ("car", "person")
SEEDS = range(12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_scan(name: str, num_points: int, first_tag: int, seed: int) -> PointSample:
    """A scan about the sensor, also above and below its field of view."""
    generator = rng(seed)
    azimuth = generator.uniform(-pi, pi, num_points)
    elevation = np.deg2rad(generator.uniform(-32, 9, num_points))
    distance = generator.uniform(2, 60, num_points)
    flat = distance * np.cos(elevation)
    xyz = np.stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=1
    )
    return PointSample(
        name=name,
        xyz=xyz.astype(np.float32),
        origin=np.zeros(3),
        row=np.arange(num_points),
        intensity=np.arange(first_tag, first_tag + num_points, dtype=np.float32),
        segment=generator.integers(-1, 19, num_points),
        instance=generator.integers(-1, 6, num_points),
    )


@dataclass
class Others:
    """Always the same other scan; counts how often it was drawn."""

    scan: PointSample
    spec: object = SEMANTICKITTI19
    draws: list[int] = field(default_factory=list)

    def draw(self, generator: np.random.Generator) -> PointSample:
        self.draws.append(1)
        return self.scan


A = make_scan("a", 500, 0, seed=1)
B = make_scan("b", 430, 10_000, seed=2)


def source(tag: float) -> tuple[PointSample, int]:
    return (B, int(tag) - 10_000) if tag >= 10_000 else (A, int(tag))


def check_origin_of_points(result: PointSample, in_place: bool = True) -> None:
    """Labels and rows are those of the point with that tag; rows of the other scan are -1."""
    for i, tag in enumerate(result.intensity.tolist()):
        scan, row = source(tag)
        assert result.segment[i] == scan.segment[row]
        assert result.row[i] == (row if scan is A else -1)
        if in_place:
            np.testing.assert_array_equal(result.xyz[i], scan.xyz[row])


def check_instances(result: PointSample, num_foreign_parts: int = 1) -> None:
    """Ids of the own scan stay; no two scans share one; points of an object stay together."""
    own = result.row >= 0
    np.testing.assert_array_equal(result.instance[own], A.instance[result.row[own]])
    foreign_ids = result.instance[~own]
    assert not set(foreign_ids[foreign_ids >= 0]) & set(result.instance[own])
    before = np.array([B.instance[source(tag)[1]] for tag in result.intensity[~own].tolist()])
    np.testing.assert_array_equal(foreign_ids >= 0, before >= 0)
    pairs = set(zip(before[before >= 0].tolist(), foreign_ids[before >= 0].tolist(), strict=True))
    assert len({new for _, new in pairs}) == len(pairs), "two objects became one"
    assert len(pairs) <= num_foreign_parts * len(set(before[before >= 0].tolist()))


def laser_tags(num_areas: int, low: float, high: float) -> set[int]:
    """The tags that remain, area by area, as the method is written down."""
    tags = set()
    edges = [high - i * (high - low) / num_areas for i in range(num_areas + 1)]
    for area in range(num_areas):
        scan = A if area % 2 == 0 else B
        for tag, (x, y, z) in zip(scan.intensity.tolist(), scan.xyz.tolist(), strict=True):
            pitch = min(max(degrees(atan2(z, hypot(x, y))), low + 1e-3), high - 1e-3)
            if edges[area + 1] < pitch <= edges[area]:
                tags.add(int(tag))
    return tags


@pytest.mark.parametrize("num_areas", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("pitch", [(-25.0, 3.0), (-30.0, 8.0)])
def test_laser_mix_takes_every_band_from_its_scan(num_areas, pitch):
    result = LaserMix(num_areas=(num_areas,), pitch=pitch)(A, Others(B), rng())
    tags = result.intensity.astype(int).tolist()
    assert len(tags) == len(set(tags)), "no point twice"
    assert set(tags) == laser_tags(num_areas, *pitch)
    check_origin_of_points(result)
    check_instances(result)
    assert result.name == "a+b"


def test_laser_mix_loses_no_point_of_two_equal_scans():
    """With itself, a scan is cut into bands and put together again."""
    same = Others(A.with_(name="twin"))
    for seed in SEEDS:
        result = LaserMix()(A, same, rng(seed))
        assert sorted(result.intensity.tolist()) == sorted(A.intensity.tolist())


def test_laser_mix_draws_the_number_of_areas():
    expected = {n: laser_tags(n, -25.0, 3.0) for n in (3, 4, 5, 6)}
    seen = []
    for seed in range(40):
        tags = set(LaserMix()(A, Others(B), rng(seed)).intensity.astype(int).tolist())
        seen.append([n for n, wanted in expected.items() if wanted == tags])
    assert {n for (n,) in seen} == {3, 4, 5, 6}


def test_a_point_on_a_border_belongs_to_the_lower_band():
    """At 0 degrees, between two bands: the other scan's."""
    xyz = np.array([[1, 0, 0], [1, 0, 0.1], [2, 0, -0.1]], np.float32)
    scan = A.select(np.arange(3)).with_(xyz=xyz)
    other = Others(scan.with_(name="b", intensity=scan.intensity + 10_000))
    mix = LaserMix(num_areas=(2,), pitch=(-10.0, 10.0))
    assert mix(scan, other, rng()).intensity.tolist() == [1.0, 10_000.0, 10_002.0]


def make_ring(scan: PointSample, num_points: int = 720) -> PointSample:
    """Points all around at one azimuth each, none on a multiple of half a degree."""
    azimuth = np.deg2rad(np.arange(num_points) * 360 / num_points + 0.11)
    xyz = np.stack([20 * np.cos(azimuth), 20 * np.sin(azimuth), 0 * azimuth], axis=1)
    index = np.resize(np.arange(len(scan)), num_points)
    ring = scan.select(index).with_(xyz=xyz.astype(np.float32), row=np.arange(num_points))
    return ring.with_(intensity=np.arange(num_points, dtype=np.float32))


@pytest.mark.parametrize("seed", SEEDS)
def test_polar_mix_swaps_exactly_half_a_turn(seed):
    """Of two equal rings, every azimuth is there once; those of the other are one half turn."""
    ring = make_ring(A)
    mix = PolarMix(classes=THINGS, swap=1.0, paste=0.0)
    result = mix(ring, Others(ring.with_(name="b")), rng(seed))
    tags = result.intensity.astype(int)
    assert sorted(tags.tolist()) == list(range(720))
    foreign = np.zeros(720, bool)
    foreign[tags[result.row < 0]] = True
    assert foreign.sum() == 360
    assert (foreign != np.roll(foreign, 1)).sum() == 2, "one sector"
    assert foreign[0], "it starts between -180 and 0 degrees, so the front is always in it"


def test_polar_mix_draws_its_sector():
    ring = make_ring(A)
    mix = PolarMix(classes=THINGS, swap=1.0, paste=0.0)
    starts = []
    for seed in range(60):
        result = mix(ring, Others(ring.with_(name="b")), rng(seed))
        foreign = np.zeros(720, bool)
        foreign[result.intensity[result.row < 0].astype(int)] = True
        starts.append(np.flatnonzero(foreign & ~np.roll(foreign, 1)).item() / 2)
    assert min(starts) < 200 and max(starts) > 340  # degrees; anywhere in the rear half turn


def test_polar_mix_replaces_only_the_sector_of_each():
    for seed in SEEDS:
        mix = PolarMix(classes=THINGS, swap=1.0, paste=0.0)
        result = mix(A, Others(B), rng(seed))
        check_origin_of_points(result)
        check_instances(result)
        assert len(set(result.intensity.tolist())) == len(result)
        own = result.row >= 0
        direction = np.arctan2(*result.xyz[:, 1::-1].T)
        around = np.angle(np.exp(1j * direction[~own]).mean())
        foreign = from_direction(direction[~own], around)
        middle = around + (foreign.min() + foreign.max()) / 2
        assert np.abs(from_direction(direction[~own], middle)).max() < pi / 2
        assert np.abs(from_direction(direction[own], middle)).min() > pi / 2 - 0.1
        lost = A.xyz[~np.isin(A.row, result.row[own])]
        assert np.abs(from_direction(np.arctan2(*lost[:, 1::-1].T), middle)).max() < pi / 2 + 0.1


def from_direction(angles, middle):
    """Angles from `middle`, in -pi..pi."""
    return np.angle(np.exp(1j * (angles - middle)))


@pytest.mark.parametrize("seed", SEEDS)
def test_polar_mix_pastes_things_three_times(seed):
    """As they are, then turned about the sensor: ranges, heights, labels and shapes stay."""
    mix = PolarMix(classes=THINGS, swap=0.0, paste=1.0)
    result = mix(A, Others(B), rng(seed))
    things = np.flatnonzero(np.isin(B.segment, [0, 5]))  # car and person
    assert 20 < len(things) < 100
    assert len(result) == len(A) + 3 * len(things)
    np.testing.assert_array_equal(result.xyz[: len(A)], A.xyz)
    np.testing.assert_array_equal(result.row[: len(A)], A.row)
    copies = result.xyz[len(A) :].reshape(3, len(things), 3)
    tags = result.intensity[len(A) :].reshape(3, -1)
    np.testing.assert_array_equal(tags, np.broadcast_to(B.intensity[things], tags.shape))
    np.testing.assert_array_equal(copies[0], B.xyz[things])
    before = B.xyz[things].astype(np.float64)
    for copy, (low, high) in zip(copies[1:], [(0, 120), (120, 240)], strict=True):
        np.testing.assert_allclose(copy[:, 2], before[:, 2], atol=1e-5)
        np.testing.assert_allclose(np.hypot(*copy.T[:2]), np.hypot(*before.T[:2]), rtol=1e-5)
        turn = np.angle(
            (copy[:, 0] + 1j * copy[:, 1]) / (before[:, 0] + 1j * before[:, 1]), deg=True
        )
        assert np.ptp(turn % 360) < 1e-3, "all by the same angle"
        assert low < turn[0] % 360 < high
    check_origin_of_points(result, in_place=False)
    check_instances(result, num_foreign_parts=3)


def test_polar_mix_draws_its_angles():
    mix = PolarMix(classes=THINGS, swap=0.0)
    angles = []
    for seed in range(40):
        result = mix(A, Others(B), rng(seed))
        copies = result.xyz[len(A) :].reshape(3, -1, 3)[:, 0]
        directions = np.angle(copies[:, 0] + 1j * copies[:, 1], deg=True)
        angles.append((directions[1:] - directions[0]) % 360)
    first, second = np.array(angles).T
    assert first.min() < 15 and first.max() > 105 and second.min() < 135 and second.max() > 225


def test_how_often_polar_mix_swaps_and_pastes():
    swapped = pasted = 0
    for seed in range(400):
        result = PolarMix(classes=THINGS, paste=0.25)(A, Others(B), rng(seed))
        swapped += (result.row >= 0).sum() < len(A)
        tags = result.intensity[result.row < 0].tolist()
        pasted += len(tags) > len(set(tags))
    assert swapped == pytest.approx(200, abs=40)
    assert pasted == pytest.approx(100, abs=35)


def test_normals_turn_with_pasted_things():
    normal = np.zeros((len(B), 3), np.float32)
    normal[:, :2] = B.xyz[:, :2] / np.hypot(*B.xyz.T[:2])[:, None]  # away from the sensor
    mix = PolarMix(classes=THINGS, swap=0.0)
    own = A.with_(normal=np.zeros_like(A.xyz))
    result = mix(own, Others(B.with_(normal=normal)), rng())
    pasted = result.select(result.row < 0)
    away = pasted.xyz[:, :2] / np.hypot(*pasted.xyz.T[:2])[:, None]
    np.testing.assert_allclose(pasted.normal[:, :2], away, atol=1e-5)


EVERY = [LaserMix(), PolarMix(classes=THINGS), OneOf(mixes=(LaserMix(),))]


@pytest.mark.parametrize("mix", EVERY, ids=lambda m: type(m).__name__)
def test_mixes_repeat_and_change_no_input(mix):
    before = make_scan("a", 500, 0, seed=1), make_scan("b", 430, 10_000, seed=2)
    first, second = (mix(A, Others(B), rng(5)) for _ in range(2))
    for name in ("xyz", "row", "intensity", "segment", "instance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(A, name).dtype
        for scan, untouched in zip((A, B), before, strict=True):
            np.testing.assert_array_equal(getattr(scan, name), getattr(untouched, name))


@pytest.mark.parametrize("kind", [LaserMix, PolarMix, OneOf], ids=lambda k: k.__name__)
def test_the_other_scan_is_read_only_if_the_mix_happens(kind):
    arguments = {PolarMix: {"classes": THINGS}, OneOf: {"mixes": (LaserMix(),)}}.get(kind, {})
    others = Others(B)
    mixed = [kind(p=0.3, **arguments)(A, others, rng(s)) is not A for s in range(600)]
    assert sum(mixed) == len(others.draws)
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.06)


def test_one_of_takes_each_as_often():
    calls = []
    mixes = [lambda s, o, r, n=n: calls.append(n) or s for n in range(3)]
    for seed in range(900):
        OneOf(mixes=mixes)(A, Others(B), rng(seed))
    assert [calls.count(n) for n in range(3)] == pytest.approx([300] * 3, abs=50)


def test_join_shifts_the_ids_of_every_scene_beyond_those_before():
    parts = [A.select(np.arange(4)).with_(instance=np.array(ids)) for ids in
             ([3, -1, 0, 3], [0, 0, -1, 2], [-1, -1, -1, -1], [0, 1, 1, -1])]  # fmt: skip
    joined = join(*parts)
    assert joined.instance.tolist() == [3, -1, 0, 3, 4, 4, -1, 6, *[-1] * 4, 7, 8, 8, -1]
    assert joined.row.tolist() == [0, 1, 2, 3, *[-1] * 12]
    assert joined.name == "a"


def test_join_keeps_the_place_of_the_first_scene():
    home = A.with_(origin=np.array([1.0, 2.0, 3.0]))
    joined = join(home, B.with_(origin=np.array([9.0, 9.0, 9.0])))
    assert joined.origin.tolist() == [1, 2, 3] and joined.name == "a+b"
    np.testing.assert_array_equal(joined.xyz, np.concatenate([A.xyz, B.xyz]))


@pytest.mark.parametrize("lacking", ["intensity", "segment", "instance"])
@pytest.mark.parametrize("which", [0, 1])
def test_scenes_with_different_fields_are_not_mixed(lacking, which):
    scenes = [A, B]
    scenes[which] = scenes[which].with_(**{lacking: None})
    words = rf"{'ba'[which]} has '{lacking}', and {'ab'[which]} has not"
    with pytest.raises(ValueError, match=words):
        join(*scenes)


def test_scenes_that_both_lack_a_field_are_mixed():
    joined = join(A.with_(instance=None), B.with_(instance=None))
    assert joined.instance is None and joined.color is None and len(joined) == 930


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: LaserMix(num_areas=(1, 3)), "num_areas"),
        (lambda: LaserMix(num_areas=()), "num_areas"),
        (lambda: LaserMix(pitch=(3.0, -25.0)), "pitch"),
        (lambda: OneOf(mixes=()), "at least one mix"),
        (lambda: PolarMix(classes=("tree",))(A, Others(B), rng()), r"\['tree'\] are not classes"),
    ],
)
def test_senseless_mixes_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_classes_are_found_by_name():
    assert class_indices(("motorcyclist", "car"), SEMANTICKITTI19, "x") == [7, 0]
