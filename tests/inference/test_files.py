"""Files in, the same files with classes out: order, columns, ids, and what was assumed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pc3d.inference import Predictor
from pc3d.inference.files import (
    LABEL,
    Labelling,
    doubtful_unit,
    entropy,
    label_file,
    unlabelled_id,
)
from pc3d.io.cloud import read_cloud
from pc3d.io.ply import read_vertices, write_vertices
from pc3d.models import MinkUNet
from pc3d.models.weights import Weights
from tests.inference.conftest import FACTS, MODEL

IDS = np.array([2, 5, 6])


def write(path: Path, xyz, color=None, **columns) -> Path:
    vertices = {axis: xyz[:, k] for k, axis in enumerate("xyz")}
    if color is not None:
        vertices |= {name: color[:, k] for k, name in enumerate(("red", "green", "blue"))}
    write_vertices(path, {**vertices, **columns})
    return path


def test_a_copy_with_classes(predictor, points, tmp_path):
    xyz, color = points
    number = np.arange(len(xyz), dtype=np.uint32)[::-1].copy()
    source = write(tmp_path / "a.ply", xyz, color, number=number)
    content = source.read_bytes()
    shares: list[float] = []
    how = Labelling(confidence=True, entropy=True, probabilities=True)
    done = label_file(predictor, source, tmp_path / "out" / "b.ply", how, shares.append)
    expected = predictor.predict(xyz, color, probabilities=True)
    assert expected.probabilities is not None
    found = read_vertices(tmp_path / "out" / "b.ply")
    np.testing.assert_array_equal(found[LABEL], IDS[expected.classes])
    np.testing.assert_array_equal(found["confidence"], expected.confidence)
    for k, name in enumerate(("ground", "tree", "roof")):
        np.testing.assert_array_equal(found[f"p_{name}"], expected.probabilities[:, k])
    p = expected.probabilities.astype(np.float64)
    np.testing.assert_allclose(
        found["entropy"], -(p * np.log(p)).sum(axis=1) / np.log(3), atol=1e-5
    )
    for k, axis in enumerate("xyz"):
        np.testing.assert_array_equal(found[axis], xyz[:, k])
    np.testing.assert_array_equal(found["number"], number)
    assert done.num_points == len(xyz) and done.num_skipped == 0
    size = " x ".join(f"{side:.4g}" for side in np.ptp(xyz, axis=0))
    assert done.remarks == (f"it is {size} m large, if its coordinates are metres",)
    assert done.counts.tolist() == np.bincount(expected.classes, minlength=3).tolist()
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert source.read_bytes() == content


def test_only_what_was_asked_for_is_added(predictor, points, tmp_path):
    xyz, color = points
    source = write(tmp_path / "a.ply", xyz[:500], color[:500])
    label_file(predictor, source, tmp_path / "b.ply", Labelling())
    assert set(read_vertices(tmp_path / "b.ply")) == {*"xyz", "red", "green", "blue", LABEL}


def test_points_without_coordinates_have_no_class(predictor, points, tmp_path):
    xyz, color = points
    holes = xyz[:800].copy()
    bad = [0, 17, 799]
    holes[bad] = [[np.nan] * 3, [np.inf, 0, 0], [0, 0, np.nan]]
    source = write(tmp_path / "a.ply", holes, color[:800])
    done = label_file(predictor, source, tmp_path / "b.ply", Labelling(confidence=True))
    found = read_vertices(tmp_path / "b.ply")
    kept = np.setdiff1d(np.arange(800), bad)
    expected = predictor.predict(xyz[kept], color[kept])
    np.testing.assert_array_equal(found[LABEL][kept], IDS[expected.classes])
    assert found[LABEL][bad].tolist() == [0, 0, 0] and found["confidence"][bad].tolist() == [0] * 3
    assert done.num_skipped == 3 and done.counts.sum() == 797
    assert unlabelled_id(np.array([2, 0, 1])) == 3


@pytest.mark.parametrize("scale", [1, 1 / 255])
def test_points_without_colours_have_no_class_and_do_not_harm_others(
    predictor, points, tmp_path, scale
):
    xyz, color = points[0][:800], points[1][:800]
    holes = color.astype(np.float64) * scale
    holes[[3, 700], [0, 2]] = np.nan, np.inf
    source = write(tmp_path / "a.ply", xyz, holes)
    done = label_file(predictor, source, tmp_path / "b.ply", Labelling(confidence=True))
    found = read_vertices(tmp_path / "b.ply")
    kept = np.setdiff1d(np.arange(800), [3, 700])
    expected = predictor.predict(xyz[kept], (holes / scale)[kept].astype(np.float32))
    np.testing.assert_array_equal(found[LABEL][kept], IDS[expected.classes])
    assert found[LABEL][[3, 700]].tolist() == [0, 0] and done.num_skipped == 2
    assert not any("257" in remark for remark in done.remarks)
    write(tmp_path / "a.ply", xyz, np.full((800, 3), np.nan))
    with pytest.raises(ValueError, match="none of its 800 points has finite values of x, y"):
        label_file(predictor, source, tmp_path / "c.ply", Labelling())


def test_what_the_network_refuses_is_said_of_the_file(predictor, points, tmp_path):
    xyz = points[0][:50].copy()
    xyz[7, 0] += 1e9
    source = write(tmp_path / "a.ply", xyz, points[1][:50])
    with pytest.raises(ValueError, match=r"a\.ply: .*less than 1,000 km"):
        label_file(predictor, source, tmp_path / "b.ply", Labelling())


def test_a_missing_field_is_refused_or_filled(predictor, points, tmp_path):
    xyz, _ = points
    source = write(tmp_path / "a.ply", xyz[:500], reflectance=np.arange(500, dtype=np.uint16))
    words = r"needs color.*Its columns are reflectance: .*columns\.color=.*fill=\[color\]"
    with pytest.raises(ValueError, match=words):
        label_file(predictor, source, tmp_path / "b.ply", Labelling())
    assert not (tmp_path / "b.ply").exists()
    done = label_file(predictor, source, tmp_path / "b.ply", Labelling(fill=["color"]))
    assert done.remarks[0] == "color is missing and taken as (127.5, 127.5, 127.5) everywhere"
    grey = np.full((500, 3), 127.5)
    expected = IDS[predictor.predict(xyz[:500], grey).classes]
    np.testing.assert_array_equal(read_vertices(tmp_path / "b.ply")[LABEL], expected)


def test_columns_of_other_names_and_16_bit_colours(predictor, points, tmp_path):
    xyz, color = points
    wide = color[:600].astype(np.uint16) * 257
    names = dict(zip(("first", "second", "third"), wide.T, strict=True))
    source = write(tmp_path / "a.ply", xyz[:600], **names)
    how = Labelling(columns={"color": ["first", "second", "third"]})
    done = label_file(predictor, source, tmp_path / "b.ply", how)
    expected = IDS[predictor.predict(xyz[:600], color[:600]).classes]
    np.testing.assert_array_equal(read_vertices(tmp_path / "b.ply")[LABEL], expected)
    assert "divided by 257" in done.remarks[0]


def test_ids_of_large_label_spaces_survive(predictor, points, tmp_path):
    """Classes become the ids that the files of the data set have, however large."""
    xyz, color = points
    spec = replace(predictor.spec, raw_ids=(1191, 70_000, 6))
    source = write(tmp_path / "a.ply", xyz[:500], color[:500])
    label_file(replace(predictor, spec=spec), source, tmp_path / "b.ply", Labelling())
    found = read_cloud(tmp_path / "b.ply", [LABEL]).columns[LABEL]
    expected = predictor.predict(xyz[:500], color[:500]).classes
    np.testing.assert_array_equal(found, np.array([1191, 70_000, 6])[expected])


def test_las_holds_ids_up_to_255_and_else_the_numbers_of_classes(predictor, points, tmp_path):
    xyz, color = points
    expected = predictor.predict(xyz[:500], color[:500]).classes
    source = write(tmp_path / "a.ply", xyz[:500], color[:500])
    label_file(predictor, source, tmp_path / "b.laz", Labelling())
    found = read_cloud(tmp_path / "b.laz", [LABEL]).columns[LABEL]
    np.testing.assert_array_equal(found, IDS[expected])
    large = replace(predictor, spec=replace(predictor.spec, raw_ids=(1191, 7, 6)))
    done = label_file(large, source, tmp_path / "c.laz", Labelling())
    found = read_cloud(tmp_path / "c.laz", [LABEL]).columns[LABEL]
    np.testing.assert_array_equal(found, expected)
    assert "classes are numbered from 0" in done.remarks[-1]


def test_an_empty_cloud_is_refused(predictor, tmp_path):
    source = write(tmp_path / "a.ply", np.full((3, 3), np.nan), np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.ply: none of its 3 points has finite"):
        label_file(predictor, source, tmp_path / "b.ply", Labelling())


@pytest.mark.parametrize(
    ("given", "expected"), [([1, 0, 0], 0), ([1 / 3] * 3, 1), ([0.5, 0.5, 0], 0.63093)]
)
def test_entropy_in_units_of_not_knowing(given, expected):
    assert entropy(np.array([given], np.float32))[0] == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def airborne(weights) -> Predictor:
    """Looks at intensity, divided by 300 and named otherwise in its training data, and returns."""
    torch.manual_seed(2)
    network = MinkUNet(in_channels=4, num_classes=3, **MODEL)
    torch.nn.init.normal_(network.head.weight, std=2.0)
    facts = {
        **FACTS,
        "features": ["intensity", "returns", "height"],
        "conventions": {"columns": {"intensity": ["Amplitude"]}, "divide_by": {"intensity": 300.0}},
    }
    return Predictor.of(Weights("a.ckpt", network.state_dict(), facts))


def test_files_are_read_as_those_of_the_training_data(airborne, points, tmp_path):
    xyz = points[0][:700]
    amplitude = np.arange(700, dtype=np.uint16) * 3 % 601
    pulse = {
        "return_number": np.arange(700, dtype=np.uint8) % 3 + 1,
        "number_of_returns": np.full(700, 4, np.uint8),
    }
    returns = np.stack(list(pulse.values()), axis=1)

    def classes(scale: float) -> np.ndarray:
        values = (amplitude / scale).astype(np.float32)
        return IDS[airborne.predict(xyz, intensity=values, returns=returns).classes]

    assert (classes(300) != classes(150)).any() and (classes(300) != classes(1)).any()
    decoy = np.zeros(700, np.float32)
    named = write(tmp_path / "a.ply", xyz, Amplitude=amplitude, intensity=decoy, **pulse)
    done = label_file(airborne, named, tmp_path / "b.ply", Labelling())
    np.testing.assert_array_equal(read_vertices(tmp_path / "b.ply")[LABEL], classes(300))
    assert "intensity is divided by 300" in done.remarks
    usual = write(tmp_path / "c.ply", xyz, intensity=amplitude, **pulse)
    how = Labelling(divide_by={"intensity": 150.0})
    done = label_file(airborne, usual, tmp_path / "d.ply", how)
    np.testing.assert_array_equal(read_vertices(tmp_path / "d.ply")[LABEL], classes(150))
    assert "intensity is divided by 150" in done.remarks
    small = write(tmp_path / "s.ply", xyz, amplitude=amplitude, intensity=decoy, **pulse)
    label_file(airborne, small, tmp_path / "t.ply", Labelling())
    np.testing.assert_array_equal(read_vertices(tmp_path / "t.ply")[LABEL], classes(300))
    how = Labelling(columns={"intensity": ["other"]})
    other = write(tmp_path / "e.ply", xyz, Amplitude=decoy, other=amplitude, **pulse)
    label_file(airborne, other, tmp_path / "f.ply", how)
    np.testing.assert_array_equal(read_vertices(tmp_path / "f.ply")[LABEL], classes(300))


@pytest.mark.parametrize(
    ("size", "extent", "words"),
    [
        ([30, 20, 5], 12.0, None),
        ([4.9, 4, 1], 12.0, "not 20 voxels of 0.25 m: are its coordinates metres?"),
        ([5.1, 4, 1], 12.0, None),
        ([3000, 2000, 239], 12.0, None),
        ([3000, 2000, 260], 12.0, r"22 times as high as .* wide \(12 m\): are"),
        ([3000, 2000, 260], None, None),
    ],
)
def test_clouds_of_another_unit_are_doubted(size, extent, words):
    found = doubtful_unit(np.array(size), 0.25, extent)
    assert found is None if words is None else re.search(words, str(found))


def test_doubts_come_before_the_work(predictor, points, tmp_path, caplog):
    xyz, color = points
    source = write(tmp_path / "a.ply", (xyz[:50] - xyz[0]) / 1000, color[:50])
    label_file(predictor, source, tmp_path / "b.ply", Labelling())
    assert "a.ply" in caplog.text and "are its coordinates metres?" in caplog.text


def test_returns_of_the_wrong_shape(airborne, points):
    xyz, values = points[0][:5], np.zeros(5)
    with pytest.raises(ValueError, match=r"returns must be numbers \[5, 2\]; got float64 \[5\]"):
        airborne.predict(xyz, intensity=values, returns=values)


def test_points_without_coordinates_get_an_id_that_no_class_has(predictor, points, tmp_path):
    xyz, color = points
    holes = xyz[:300].copy()
    holes[5] = np.nan
    zero = replace(predictor, spec=replace(predictor.spec, raw_ids=(0, 1, 6)))
    source = write(tmp_path / "a.ply", holes, color[:300])
    label_file(zero, source, tmp_path / "b.ply", Labelling())
    assert read_vertices(tmp_path / "b.ply")[LABEL][5] == 2


def test_negative_ids_do_not_fit_into_las(predictor, points, tmp_path):
    xyz, color = points
    spec = replace(predictor.spec, raw_ids=(-3, 5, 6))
    source = write(tmp_path / "a.ply", xyz[:300], color[:300])
    done = label_file(replace(predictor, spec=spec), source, tmp_path / "b.las", Labelling())
    assert "classes are numbered from 0" in done.remarks[-1]


def test_the_only_return_stands_in(airborne, points, tmp_path):
    xyz = points[0][:400]
    amplitude = np.arange(400, dtype=np.float32)
    source = write(tmp_path / "a.ply", xyz, Amplitude=amplitude)
    how = Labelling(fill=["returns"], divide_by={"intensity": 300.0})
    label_file(airborne, source, tmp_path / "b.ply", how)
    expected = airborne.predict(xyz, intensity=amplitude / 300, returns=np.ones((400, 2)))
    other = airborne.predict(xyz, intensity=amplitude / 300, returns=np.zeros((400, 2)))
    assert (expected.classes != other.classes).any()
    found = read_vertices(tmp_path / "b.ply")[LABEL]
    np.testing.assert_array_equal(found, np.array([2, 5, 6])[expected.classes])


def test_a_target_is_checked_before_the_work(predictor, points, tmp_path, monkeypatch):
    source = write(tmp_path / "a.ply", points[0][:50], points[1][:50])
    monkeypatch.setattr(Predictor, "scores", lambda *_: pytest.fail("it worked"))
    for target in (source, tmp_path / "b.pcd"):
        with pytest.raises(ValueError, match=r"is the file that is read|cannot be written"):
            label_file(predictor, source, target, Labelling())
    holes = points[0][:50].copy()
    holes[3] = np.nan
    source = write(tmp_path / "c.ply", holes, points[1][:50])
    with pytest.raises(ValueError, match=r"1 points have no finite .*Write \.ply or \.npy"):
        label_file(predictor, source, tmp_path / "b.laz", Labelling())


def test_what_reader_and_writer_say_is_passed_on(predictor, points, tmp_path):
    xyz, color = points
    np.savetxt(tmp_path / "a.txt", np.concatenate([xyz[:60], color[:60]], axis=1))
    low = replace(predictor, spec=replace(predictor.spec, class_names=("low höhe", "b", "c")))
    done = label_file(low, tmp_path / "a.txt", tmp_path / "b.ply", Labelling(probabilities=True))
    assert any("6 columns without names" in text for text in done.remarks)
    assert any("is the property p_low_h_he" in text for text in done.remarks)


def test_names_of_classes_become_names_of_files(predictor, points, tmp_path):
    odd = replace(predictor, spec=replace(predictor.spec, class_names=("a/b", "c:d", "e")))
    source = write(tmp_path / "a.ply", points[0][:60], points[1][:60])
    label_file(odd, source, tmp_path / "b.npy", Labelling(probabilities=True))
    assert {path.name for path in tmp_path.glob("b*.npy")} == {
        "b.npy", "b.p_a_b.npy", "b.p_c_d.npy", "b.p_e.npy",
    }  # fmt: skip
