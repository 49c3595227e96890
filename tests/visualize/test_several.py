"""Several runs on one scene: names, who is right, runs that do not belong together."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.test_run import CODEBOOK, run_folder
from tests.visualize.test_scene import read_scene, views
from visualize import several
from visualize.__main__ import main, parse, runs_of
from visualize.layers import Categories, Layer
from visualize.several import agreement_layer, run_names, scene_of_runs, who_is_right_layer
from visualize.sources import scene_of_run


@pytest.fixture(scope="module")
def runs(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two networks; the second run has predicted one class everywhere."""
    base = tmp_path_factory.mktemp("runs")
    found = [run_folder(base / "first", data_dir, *CODEBOOK)]
    found.append(run_folder(base / "second", data_dir, *CODEBOOK, "dataset.voxel_size=0.3"))
    for path in found[1].glob("predictions/*/test/single/*.npy"):
        np.save(path, np.full_like(np.load(path), 1))
    return found


def test_who_is_right_is_told_for_every_set_of_runs():
    truth = np.array([0, 0, 0, 0, 0, 0, -1, 0])
    predictions = [
        np.array([int(d) for d in text]) for text in ("01011000", "00110010", "00001101")
    ]
    layer = who_is_right_layer(predictions, truth, ["a", "b", "c"])
    told = [layer.labels[k] for k in layer.values]
    expected = []
    for point in range(8):
        right = [n for n, p in zip("abc", predictions, strict=True) if p[point] == truth[point]]
        if truth[point] < 0:
            expected.append("unlabelled")
        elif len(right) in (0, 3):
            expected.append("all right" if right else "all wrong")
        else:
            expected.append("only " + ", ".join(right))
    assert told == expected and {"all right", "unlabelled"} < set(told)
    assert "only a" not in layer.labels, "what does not occur has no entry"
    assert "all wrong" in layer.labels, "that nobody is wrong is told by 0.0 %"
    assert len({tuple(color) for color in layer.palette.tolist()}) == len(layer.labels)


def test_without_labels_it_is_where_they_differ():
    layer = agreement_layer([np.array([0, 1, 2]), np.array([0, 2, 2])], ["a", "b"])
    assert [layer.labels[k] for k in layer.values] == ["all 2 agree", "they differ", "all 2 agree"]


def test_runs_have_the_shortest_names_that_differ(tmp_path: Path):
    paths = [tmp_path / name for name in ("x/a/1", "x/b/1", "x/b/2")]
    assert run_names(paths[1:]) == ["1", "2"]
    assert run_names(paths) == ["a/1", "b/1", "b/2"]


def test_a_page_has_the_predictions_of_all_runs(runs: list[Path], tmp_path: Path):
    out = tmp_path / "a.html"
    main([f"run={runs[0]}", f"run={runs[1]}", f"out={out}", "max_points=2000"])
    page = read_scene(out)
    known = [name.lower() for name in views(page)]
    pairs = [f"{k} {r}" for k in ("prediction", "error", "confidence", "entropy") for r in NAMES]
    assert known == ["input", "height", "ground truth", *pairs, "who is right", "chosen code"]
    shown = [name for name in views(page) if name.isupper()]
    expected = ["INPUT", "GROUND TRUTH", "PREDICTION FIRST", "PREDICTION SECOND", "WHO IS RIGHT"]
    assert shown == [*expected, "CHOSEN CODE"]
    assert "first: this scene: mIoU" in page["subtitle"]
    assert "second: this scene: mIoU" in page["subtitle"]


def test_layers_are_named_with_or_without_underscores(runs: list[Path], tmp_path: Path):
    renamed = tmp_path / "my_second"
    shutil.copytree(runs[1], renamed)
    out = tmp_path / "a.html"
    asked = "layers=who_is_right,prediction_my_second,error first"
    main([f"run={runs[0]}", f"run={renamed}", f"out={out}", "max_points=2000", asked])
    shown = [name for name in views(read_scene(out)) if name.isupper()]
    assert shown == ["PREDICTION MY_SECOND", "ERROR FIRST", "WHO IS RIGHT"]


NAMES = ("first", "second")


def test_every_run_keeps_its_own(runs: list[Path]):
    scene = scene_of_runs(runs, "test", "")
    layers = {layer.name: layer for layer in scene.layers}
    for folder, name in zip(runs, NAMES, strict=True):
        alone = {layer.name: layer for layer in scene_of_run(folder, "test", scene.title).layers}
        for kind in ("prediction", "error", "confidence", "entropy"):
            np.testing.assert_array_equal(layers[f"{kind} {name}"].values, alone[kind].values)
    right, truth = layers["who is right"], layers["ground truth"].values
    assert isinstance(right, Categories) and isinstance(layers["prediction second"], Layer)
    only_second = np.array([right.labels[k] == "only second" for k in right.values])
    guess = layers["prediction first"].values
    np.testing.assert_array_equal(only_second, (truth == 1) & (guess != 1))
    assert only_second.any()


def test_the_scene_is_that_of_the_first_run(runs: list[Path]):
    assert scene_of_runs(runs, "test", "").title == scene_of_run(runs[0], "test", "").title
    assert scene_of_runs(runs, "test", "scene7501_00").title == "scene7501_00"


def test_runs_that_do_not_belong_together_are_told(runs: list[Path], monkeypatch):
    with pytest.raises(ValueError, match="names a folder twice"):
        scene_of_runs([runs[0], runs[0]], "test", "")
    with pytest.raises(ValueError, match="at most 6 runs fit on a page; got 7"):
        scene_of_runs([runs[0].parent / str(k) for k in range(7)], "test", "")
    with pytest.raises(FileNotFoundError):
        scene_of_runs([runs[0], runs[0].parent / "missing"], "test", "")
    real = scene_of_run

    def other_classes(folder: Path, *rest: str):
        scene = real(folder, *rest)
        names = tuple(reversed(SCANNET20.class_names))
        spec = replace(scene.spec, class_names=names) if folder == runs[1] else scene.spec
        return replace(scene, spec=spec)

    def other_points(folder: Path, *rest: str):
        scene = real(folder, *rest)
        return replace(scene, xyz=scene.xyz + (folder == runs[1]))

    monkeypatch.setattr(several, "scene_of_run", other_classes)
    with pytest.raises(ValueError, match="second has other classes than"):
        scene_of_runs(runs, "test", "")
    monkeypatch.setattr(several, "scene_of_run", other_points)
    with pytest.raises(ValueError, match="are both of the same data"):
        scene_of_runs(runs, "test", "")


def test_run_may_be_given_again_and_again():
    arguments = ["run=a", "scene=x", "run=b=c"]
    assert runs_of(arguments) == [Path("a"), Path("b=c")] and parse(arguments)["scene"] == "x"
    assert runs_of(["scene=x"]) == []
