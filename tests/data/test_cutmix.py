"""Banks of instances, and pasting from them."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import replace
from math import pi

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from pc3d.data.sample import PointSample
from pc3d.data.specs import SCANNET20, SEMANTICKITTI19, SEMANTICKITTI19_SPVNAS
from pc3d.data.transforms import InstanceCutMix
from pc3d.data.transforms.instance_bank import InstanceBank, cut_instances, label_space, write_bank


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def make_scan(num_points: int = 300, seed: int = 0, **fields) -> PointSample:
    """A scan with four small objects of classes 0 and 5; every point's intensity is its tag."""
    generator = rng(seed)
    xyz = generator.normal(size=(num_points, 3)) * [20, 20, 1]
    segment, instance = generator.integers(8, 19, num_points), np.full(num_points, -1)
    places = {(0, 3): [9, 4, -1], (0, 7): [-12, 3, -1], (5, 3): [2, -15, 0], (0, 9): [-4, -6, 0]}
    for number, ((label, identity), place) in enumerate(places.items()):
        rows = np.arange(number, 60 + 3 * number, 4)  # scattered over the scan
        xyz[rows] = place + generator.random((len(rows), 3)) * [4, 2, 1.5]
        segment[rows], instance[rows] = label, identity
    segment[200:204] = 0  # of the class, but no object
    sample = PointSample(
        name="scan",
        xyz=xyz.astype(np.float32),
        origin=np.array([5.0, 6.0, 7.0]),
        row=np.arange(num_points),
        intensity=np.arange(num_points, dtype=np.float32),
        segment=segment,
        instance=instance,
    )
    return sample.with_(**fields)


class Others:
    spec = SEMANTICKITTI19


def make_bank(folder, scan: PointSample | None = None, classes=(0, 5)):
    write_bank(folder, cut_instances(scan or make_scan(), classes), SEMANTICKITTI19)
    return folder


def expected_objects(scan: PointSample) -> dict[tuple[int, int], list[int]]:
    objects: dict[tuple[int, int], list[int]] = {}
    for row, (label, identity) in enumerate(zip(scan.segment, scan.instance, strict=True)):
        if label in (0, 5) and identity >= 0:
            objects.setdefault((int(label), int(identity)), []).append(row)
    return objects


def test_objects_are_cut_out_by_class_and_id():
    """The id 3 stands for a car and for a person."""
    scan = make_scan()
    cut = {(int(i.segment[0]), int(i.instance[0])): i for i in cut_instances(scan, (0, 5))}
    expected = expected_objects(scan)
    assert {key: instance.row.tolist() for key, instance in cut.items()} == expected
    assert len(expected) == 4
    for key, instance in cut.items():
        np.testing.assert_array_equal(instance.xyz, scan.xyz[expected[key]])
        np.testing.assert_array_equal(instance.intensity, expected[key])
    assert len(cut_instances(scan, (5,))) == 1
    assert cut_instances(scan, (7,)) == []


def test_small_objects_are_left_out():
    sizes = sorted(len(rows) for rows in expected_objects(make_scan()).values())
    kept = cut_instances(make_scan(), (0, 5), min_points=sizes[1])
    assert sorted(map(len, kept)) == sizes[1:]
    assert cut_instances(make_scan().select(np.arange(0)), (0,)) == []


@pytest.mark.parametrize("lacking", ["segment", "instance"])
def test_scenes_without_objects_are_refused(lacking):
    with pytest.raises(ValueError, match=f"bank of instances needs '{lacking}'"):
        cut_instances(make_scan(**{lacking: None}), (0,))


def test_a_bank_gives_back_what_was_written(tmp_path):
    """In whatever order it came."""
    scan = make_scan()
    write_bank(tmp_path / "bank", cut_instances(scan, (0, 5))[::-1], SEMANTICKITTI19)
    bank = InstanceBank(tmp_path / "bank")
    assert bank.classes == [0, 5] and bank.label_space == label_space(SEMANTICKITTI19)
    expected = expected_objects(scan)
    seen = set()
    for seed in range(60):
        for label in (0, 5):
            fields = bank.draw(label, rng(seed))
            assert set(fields) == {"xyz", "intensity"}
            rows = fields["intensity"].astype(int).tolist()
            (key,) = (key for key, own in expected.items() if own == rows)
            assert key[0] == label
            np.testing.assert_array_equal(fields["xyz"], scan.xyz[rows])
            seen.add(key)
    assert seen == set(expected)
    counts = json.loads((tmp_path / "bank" / "bank.json").read_text())["num_instances"]
    assert (counts["car"], counts["person"], counts["road"]) == (3, 1, 0)


def test_a_bank_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_, **options):
        raise OSError("disk full")

    instances = cut_instances(make_scan(), (0, 5))
    with monkeypatch.context() as patch:
        patch.setattr("pc3d.data.transforms.instance_bank.json.dumps", fail)
        with pytest.raises(OSError, match="disk full"):
            write_bank(tmp_path / "bank", instances, SEMANTICKITTI19)
    assert list(tmp_path.iterdir()) == []
    make_bank(tmp_path / "bank")
    with pytest.raises(FileExistsError, match="remove it"):
        make_bank(tmp_path / "bank")
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]
    with pytest.raises(ValueError, match="no instances"):
        write_bank(tmp_path / "none", [], SEMANTICKITTI19)


def test_a_missing_bank_names_the_command(tmp_path):
    """Only when it is needed: evaluation builds the same configuration."""
    mix = InstanceCutMix(bank=tmp_path / "none")
    command = rf"python -m data_prep\.instances out={tmp_path / 'none'}"
    with pytest.raises(FileNotFoundError, match=command):
        mix(make_scan(), Others(), rng())


def test_a_bank_of_another_label_space_is_refused(tmp_path):
    others = Others()
    others.spec = SCANNET20
    with pytest.raises(ValueError, match="was not made from scannet20"):
        InstanceCutMix(bank=make_bank(tmp_path / "bank"))(make_scan(), others, rng())


def test_a_scan_with_other_fields_is_refused(tmp_path):
    mix = InstanceCutMix(bank=make_bank(tmp_path / "bank", make_scan(intensity=None)))
    with pytest.raises(ValueError, match=r"scan has 'intensity', and the bank .*bank has not"):
        mix(make_scan(), Others(), rng())


def test_a_used_mix_travels_without_the_bank(tmp_path):
    """To workers that are started afresh: the arrays are opened again there."""
    mix = InstanceCutMix(bank=make_bank(tmp_path / "bank"))
    first = mix(make_scan(), Others(), rng(3))
    packed = pickle.dumps(mix)
    assert len(packed) < 1000
    np.testing.assert_array_equal(
        pickle.loads(packed)(make_scan(), Others(), rng(3)).xyz, first.xyz
    )


def pieces_of(result: PointSample, num_own: int = 300) -> list[PointSample]:
    """Pasted objects: runs of one instance id behind the scan's own points."""
    pasted = result.select(np.arange(num_own, len(result)))
    starts = np.flatnonzero(np.diff(pasted.instance)) + 1
    return [pasted.select(rows) for rows in np.split(np.arange(len(pasted)), starts)]


@pytest.mark.parametrize("seed", range(10))
def test_objects_are_pasted_as_documented(seed, tmp_path):
    """Shapes up to scale; heights of centroids, and sides that face the sensor, stay."""
    scan = make_scan()
    result = InstanceCutMix(bank=make_bank(tmp_path / "bank"))(scan, Others(), rng(seed))
    own = result.select(np.arange(300))
    for field in ("xyz", "row", "intensity", "segment", "instance"):
        np.testing.assert_array_equal(getattr(own, field), getattr(scan, field))
        assert getattr(result, field).dtype == getattr(scan, field).dtype
    assert result.name == "scan" and result.origin.tolist() == [5, 6, 7]
    pieces = pieces_of(result)
    assert len(pieces) == 10
    assert not {int(p.instance[0]) for p in pieces} & set(scan.instance.tolist())
    for piece in pieces:
        rows = piece.intensity.astype(int)
        assert rows.tolist() in expected_objects(scan).values()
        np.testing.assert_array_equal(piece.segment, scan.segment[rows])
        assert (piece.row == -1).all()
        before, after = scan.xyz[rows].astype(np.float64), piece.xyz.astype(np.float64)
        scale = pdist(after) / pdist(before)
        assert np.ptp(scale) < 1e-4 and 0.9 <= scale[0] <= 1.1
        middle, moved = before.mean(axis=0), after.mean(axis=0)
        assert moved[2] == pytest.approx(middle[2], abs=1e-5)
        away = np.hypot(*moved[:2]) / np.hypot(*middle[:2])
        assert 0.5 <= away <= 2.0
        # In its own frame (forward, left, up as seen from the sensor) an object is only scaled.
        np.testing.assert_allclose(frame(after), frame(before) * scale[0], atol=1e-4)


def frame(points: np.ndarray) -> np.ndarray:
    """Points about their centroid, turned so that the centroid lies in the direction of x."""
    middle = points.mean(axis=0)
    relative = points - middle
    turned = (relative[:, 0] + 1j * relative[:, 1]) * np.exp(
        -1j * np.angle(middle[0] + 1j * middle[1])
    )
    return np.stack([turned.real, turned.imag, relative[:, 2]], axis=1)


def test_what_is_drawn_has_its_distribution(tmp_path):
    scan = make_scan()
    mix = InstanceCutMix(bank=make_bank(tmp_path / "bank"), num_instances=400)
    pieces = pieces_of(mix(scan, Others(), rng(1)))
    labels = Counter(int(p.segment[0]) for p in pieces)
    assert labels[0] == pytest.approx(200, abs=45)  # a class first, and then one of its objects
    objects = Counter(int(p.intensity[0]) for p in pieces if p.segment[0] == 0)
    assert len(objects) == 3 and max(objects.values()) < 100
    turns, aways, scales = [], [], []
    for piece in pieces:
        before = scan.xyz[piece.intensity.astype(int)].mean(axis=0)
        after = piece.xyz.mean(axis=0)
        turns.append(np.angle((after[0] + 1j * after[1]) / (before[0] + 1j * before[1])))
        aways.append(np.hypot(*after[:2]) / np.hypot(*before[:2]))
        scales.append(pdist(piece.xyz)[0] / pdist(scan.xyz[piece.intensity[:2].astype(int)])[0])
    assert np.mean(turns) == pytest.approx(0, abs=0.3) and np.std(turns) > 0.9 * pi / np.sqrt(3)
    assert np.mean(aways) == pytest.approx(1.25, abs=0.08) and np.ptp(aways) > 1.4
    assert np.mean(scales) == pytest.approx(1.0, abs=0.01) and np.ptp(scales) > 0.18
    correlation = np.corrcoef([turns, aways, scales])
    assert np.abs(correlation - np.eye(3)).max() < 0.2, "drawn one by one"


def test_scans_without_ids_get_objects_too(tmp_path):
    scan = make_scan(instance=None)
    result = InstanceCutMix(bank=make_bank(tmp_path / "bank"))(scan, Others(), rng())
    assert result.instance is None and len(result) > 300


def test_it_happens_with_its_probability_and_changes_no_input(tmp_path):
    mix = InstanceCutMix(bank=make_bank(tmp_path / "bank"), p=0.3, num_instances=1)
    scan, untouched = make_scan(), make_scan()
    happened = [len(mix(scan, Others(), rng(seed))) > 300 for seed in range(600)]
    assert np.mean(happened) == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(scan.xyz, untouched.xyz)
    np.testing.assert_array_equal(scan.instance, untouched.instance)


def test_normals_turn_along(tmp_path):
    scan = make_scan()
    normal = np.zeros_like(scan.xyz)
    normal[:, :2] = scan.xyz[:, :2] / np.hypot(*scan.xyz.T[:2])[:, None]
    scan = scan.with_(normal=normal)
    mix = InstanceCutMix(
        bank=make_bank(tmp_path / "bank", scan), scale=(1.0, 1.0), distance=(1.0, 1.0)
    )
    for piece in pieces_of(mix(scan, Others(), rng())):
        away = piece.xyz[:, :2] / np.hypot(*piece.xyz.T[:2])[:, None]
        np.testing.assert_allclose(piece.normal[:, :2], away, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"num_instances": 0}, {"scale": (0.0, 1.0)}, {"distance": (-1.0, 2.0)}]
)
def test_senseless_parameters_are_refused(options):
    with pytest.raises(ValueError, match="InstanceCutMix"):
        InstanceCutMix(bank="bank", **options)


def test_banks_of_equal_classes_fit_whatever_the_space_is_called(tmp_path):
    others = Others()
    others.spec = replace(SEMANTICKITTI19, name="mine")
    mix = InstanceCutMix(bank=make_bank(tmp_path / "bank"))
    assert len(mix(make_scan(), others, rng())) > 300
    others.spec = SEMANTICKITTI19_SPVNAS  # the same names, of other ids
    with pytest.raises(ValueError, match="was not made from semantickitti19_spvnas"):
        mix(make_scan(), others, rng())
