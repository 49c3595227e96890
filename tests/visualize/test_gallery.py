"""The gallery of a tested split: what is counted, in which order, and what the page holds."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pc3d.cli import gallery as program
from pc3d.data.specs import SCANNET20
from pc3d.metrics import scores
from pc3d.runs.results import NEEDED
from tests.visualize.rooms import CHAIR, DOOR, FLOOR, WALL, make_room
from tests.visualize.test_run import run_folder
from visualize.gallery import write_gallery
from visualize.split_counts import Cell, cell_of, count_split, order_of

NAMES = ["scene2_00", "scene10_00", "scene1_00", "scene3_00"]
WRONG = {"scene2_00": 40, "scene10_00": 5, "scene1_00": 90, "scene3_00": 0}
"""How many percent of the chairs are taken for doors."""
C = SCANNET20.num_classes


def make_scene(root: Path, name: str, seed: int, has_labels: bool = True) -> np.ndarray:
    """A room in ScanNet's layout; returns its labels."""
    room = make_room(600, seed)
    folder = root / "synthetic" / "test" / name
    folder.mkdir(parents=True)
    np.save(folder / "coord.npy", room.xyz)
    np.save(folder / "color.npy", room.rgb)
    labels = room.labels if has_labels else np.full_like(room.labels, -1)
    np.save(folder / "segment20.npy", labels.astype(np.int16))
    return room.labels


def predicted(labels: np.ndarray, percent: int, seed: int = 0) -> np.ndarray:
    """Right but for a part of the chairs; a wall where there is no label."""
    found = np.where(labels < 0, WALL, labels)
    chairs = np.flatnonzero(labels == CHAIR)
    drawn = np.random.default_rng(seed).permutation(chairs)
    found[drawn[: len(chairs) * percent // 100]] = DOOR
    return found.astype(np.int16)


def predictions_of(run: Path) -> Path:
    (folder,) = (run / "predictions").glob("*/test/single")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was tested on four rooms."""
    root = tmp_path_factory.mktemp("gallery")
    labels = {name: make_scene(root, name, i) for i, name in enumerate(NAMES)}
    run = run_folder(root / "run", root, "model=minkunet14a", "model.widths=[8,8,8,8,8,8,8,8]")
    for name, truth in labels.items():
        np.save(predictions_of(run) / f"{name}.npy", predicted(truth, WRONG[name]))
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The same to be spoilt; scenes are still read from where the run was made."""
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def by_hand(made: Path, names: list[str]) -> np.ndarray:
    """The confusion matrix, from the files alone."""
    matrix = np.zeros((C, C), int)
    for name in names:
        truth = np.load(made / "synthetic" / "test" / name / "segment20.npy").astype(int)
        found = np.load(predictions_of(made / "run") / f"{name}.npy")
        for t, p in zip(truth, found, strict=True):
            if t >= 0:
                matrix[t, p] += 1
    return matrix


def data_of(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    match = re.search(r"^const page = (\{.*\});$", text, re.MULTILINE)
    assert match
    return json.loads(match[1])


def names_of(split, order):
    return [split.scenes[i].name for i in order]


def test_counts_are_those_of_the_files(made):
    split, cell = count_split(made / "run", "test")
    assert cell is None and split.has_labels
    np.testing.assert_array_equal(split.matrix.numpy(), by_hand(made, NAMES))
    for scene in split.scenes:
        matrix = by_hand(made, [scene.name])
        np.testing.assert_array_equal(scene.matrix(C).numpy(), matrix)
        hits, union = matrix.diagonal(), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        assert scene.miou == pytest.approx((hits[union > 0] / union[union > 0]).mean())
        assert scene.oa == pytest.approx(hits.sum() / matrix.sum())
        assert (scene.num_points, scene.num_labelled) == (600, matrix.sum())
    assert split.scores.miou == scores(torch.from_numpy(by_hand(made, NAMES))).miou


def test_orders(made):
    split, _ = count_split(made / "run", "test")
    natural = ["scene1_00", "scene2_00", "scene3_00", "scene10_00"]
    assert names_of(split, order_of(split, "name")) == natural
    worst = sorted(natural, key=lambda name: -WRONG[name])
    assert names_of(split, order_of(split, "miou")) == worst
    assert names_of(split, order_of(split, "name", Cell(CHAIR, DOOR))) == worst
    floors = names_of(split, order_of(split, "name", Cell(FLOOR, FLOOR)))
    counts = dict(
        zip((s.name for s in split.scenes), split.in_cell(Cell(FLOOR, FLOOR)), strict=True)
    )
    assert floors == sorted(natural, key=lambda name: -counts[name][0])
    with pytest.raises(ValueError, match="sort must be one of miou, name; got size"):
        order_of(split, "size")


def test_scenes_without_labels_come_last(made):
    split, _ = count_split(made / "run", "test")
    bare = [replace(s, miou=float("nan")) if s.name == "scene1_00" else s for s in split.scenes]
    order = order_of(replace(split, scenes=bare), "miou")
    assert names_of(split, order) == ["scene2_00", "scene10_00", "scene3_00", "scene1_00"]


def test_the_worst_scenes_of_a_cell_are_drawn(made, tmp_path):
    split, _ = count_split(made / "run", "test")
    cell = Cell(CHAIR, CHAIR)
    order = names_of(split, order_of(split, "miou", cell))
    assert order[0] != "scene1_00"  # the one with the lowest mIoU
    cards = {}
    for number in (1, 4):
        write_gallery(tmp_path / "a.html", split, cell=cell, max_scenes=number)
        cards[number] = {c["name"]: c["images"] for c in data_of(tmp_path / "a.html")["cards"]}
    assert list(cards[1]) == order[:1] and set(cards[4]) == set(NAMES)
    assert cards[4][order[0]] == cards[1][order[0]]  # each card has the pictures of its scene
    assert len({images[0] for images in cards[4].values()}) == 4


def test_the_page(made, tmp_path):
    split, cell = count_split(made / "run", "test", "chair:door")
    assert cell == Cell(CHAIR, DOOR)
    path = tmp_path / "a.html"
    assert write_gallery(path, split, cell=cell, max_scenes=2) == 2
    page, text = data_of(path), path.read_text(encoding="utf-8")
    assert "http" not in text.replace("http://www.w3.org", "")
    assert [card["name"] for card in page["cards"]] == ["scene1_00", "scene2_00"]
    assert page["matrix"] == by_hand(made, NAMES).tolist() and page["cell"] == [CHAIR, DOOR]
    miou = 100 * split.scores.miou
    assert f"mIoU {miou:.2f} %" in page["lines"][0]
    assert page["lines"][-1] == "2 of 4 scenes shown, those with most chair taken for door; " + (
        "the matrix has all."
    )
    for card in page["cards"]:
        cells = dict(zip(card["cells"][::2], card["cells"][1::2], strict=True))
        expected = by_hand(made, [card["name"]]).flatten()
        assert cells == {i: n for i, n in enumerate(expected) if n}
        assert card["images"][0] != card["images"][1] and len(card["images"][0]) > 1000
    assert page["cards"][0]["command"].startswith("pc3d view run=")
    with pytest.raises(ValueError, match="max_scenes must be at least 1; got 0"):
        write_gallery(path, split, max_scenes=0)


def test_the_program(made, tmp_path, monkeypatch, capsys):
    out = tmp_path / "g.html"
    monkeypatch.setattr(
        sys, "argv", ["gallery", f"run={made / 'run'}", "cell=chair:door", f"out={out}"]
    )
    program.main()
    shown = capsys.readouterr().out
    matrix = by_hand(made, NAMES)
    total, chairs = matrix[CHAIR, DOOR], matrix[CHAIR].sum()
    share = f"{100 * total / chairs:.1f} %"
    assert (
        f"chair taken for door: {total:,} points, {share} of all chair, in 3 of 4 scenes" in shown
    )
    rows = [line for line in shown.splitlines() if "scene" in line and "│" in line]
    assert [re.search(r"scene\d+_00", row)[0] for row in rows] == [
        "scene1_00",
        "scene2_00",
        "scene10_00",
    ]
    assert f"{out}: 4 scenes; mIoU of the split" in shown.replace("\n", "") and out.is_file()


def test_a_test_with_other_labels_is_doubted(copied, made, tmp_path):
    split, _ = count_split(copied, "test")
    (folder,) = (copied / "predictions").glob("*")
    result = copied / "test" / f"test-{folder.name}-single.json"
    result.parent.mkdir(exist_ok=True)
    matrix = by_hand(made, NAMES)
    for change in (0, 1):
        matrix[0, 0] += change
        result.write_text(json.dumps(dict.fromkeys(NEEDED) | {"confusion": matrix.tolist()}))
        write_gallery(tmp_path / "a.html", split, max_scenes=1)
        problems = data_of(tmp_path / "a.html")["problems"]
        assert len(problems) == change
    assert "another confusion matrix" in problems[0]


def test_a_split_without_labels(tmp_path):
    for i, name in enumerate(["b <b>", "a 'x'"]):
        make_scene(tmp_path, name, i, has_labels=False)
    run = run_folder(tmp_path / "run", tmp_path, "model=minkunet14a")
    split, _ = count_split(run, "test")
    assert not split.has_labels
    path = tmp_path / "a.html"
    assert write_gallery(path, split) == 2
    page = data_of(path)
    assert page["matrix"] is None and "no labels" in page["lines"][0]
    assert [card["name"] for card in page["cards"]] == ["a 'x'", "b <b>"]
    assert all(card["images"][1] is None and card["miou"] is None for card in page["cards"])
    assert "<b>" not in path.read_text(encoding="utf-8").split("const page")[1].split("\n")[0]
    with pytest.raises(ValueError, match=r"cell=wall:floor: split test has no labels"):
        count_split(run, "test", "wall:floor")


def spoil(run: Path, how: str) -> None:
    path = predictions_of(run) / "scene10_00.npy"
    whole = np.load(path)
    if how == "missing":
        path.unlink()
    elif how == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        changed = {
            "long": np.append(whole, 0),
            "float": whole.astype(np.float32),
            "class": np.where(np.arange(len(whole)) == 5, 99, whole),
            "none": np.where(np.arange(len(whole)) == 5, -1, whole),
        }
        np.save(path, changed[how])


@pytest.mark.parametrize(
    ("how", "error", "expected"),
    [
        ("missing", FileNotFoundError, "no prediction of 1 of 4 scenes: scene10_00"),
        ("damaged", ValueError, r"scene10_00\.npy is damaged"),
        ("long", ValueError, "has 601 predictions, but scene scene10_00 has 600"),
        ("float", ValueError, "must hold one class per point.*float32"),
        ("class", ValueError, r"scene10_00\.npy.*99"),
        ("none", ValueError, "1 points have no class"),
    ],
)
def test_predictions_that_cannot_be(copied, how, error, expected):
    spoil(copied, how)
    with pytest.raises(error, match=expected):
        count_split(copied, "test")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("chair", r"cell=chair is not <true class>:<predicted class>, such as cell=wall:floor"),
        ("chair:doors", "scannet20 has no class 'doors'; it has wall, floor"),
        ("a:b", "has no class 'a' and no class 'b'"),
    ],
)
def test_cells_that_cannot_be(made, cell, expected):
    with pytest.raises(ValueError, match=expected):
        cell_of(cell, SCANNET20)
    with pytest.raises(ValueError, match=expected):
        count_split(made / "run", "test", cell)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sort=miou"], "say which run to show"),
        (["run=a", "size=3"], "'size=3' is not key=value"),
        (["run=a", "sort=size"], "sort=size must be one of miou, name"),
        (["run=a", "sort=name", "cell=a:b"], "two orders of the scenes"),
        (["run=a", "max_scenes=0"], "max_scenes=0 is not a number of scenes from 1"),
        (["run=a", "max_scenes=many"], "max_scenes=many"),
        (["run=a", "out=a.png"], r"out=a\.png must end in \.html"),
    ],
)
def test_arguments_that_cannot_be(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        program.parse(arguments)


def test_runs_without_a_test_are_named(tmp_path, made):
    with pytest.raises(FileNotFoundError, match="no-run"):
        count_split(tmp_path / "no-run", "test")
    with pytest.raises(FileNotFoundError, match="val"):
        count_split(made / "run", "val")
