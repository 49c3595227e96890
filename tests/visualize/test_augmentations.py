"""The page of augmentations: what it shows is what training does."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pc3d.cli.augmentations import gallery_of
from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config, conf_dir
from pc3d.data import transforms
from pc3d.data.datasets.base import SampleKey
from pc3d.data.sample import POINT_FIELDS, PointSample
from pc3d.data.transforms import (
    Augmentation,
    CenterShift,
    ChromaticJitter,
    LaserMix,
    OneOf,
    PolarMix,
    RandomDropout,
    RandomFlip,
    RandomRotate,
    RandomShift,
)
from pc3d.data.transforms.mixing import join
from pc3d.data.voxelize import CropVoxels
from tests.conftest import TINY
from tests.visualize.rooms import CHAIR
from tests.visualize.scenes import make_sample, rooms, scans
from tests.visualize.test_render import decode_png
from tests.visualize.test_runs_page import data_of
from visualize import augmentations
from visualize.augmentation_steps import NO_STEPS, PROBABILITIES, forced
from visualize.augmentations import Gallery, changes, write_gallery

CHOICES = {"dataset": "d", "recipe": "r", "augment": "a"}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentations, "SIZE", (184, 140))


def gallery(data: Any, **options: Any) -> Gallery:
    given = {"scene": None, "split": "train", "epochs": 2, **options}
    return gallery_of(data, OmegaConf.create(given), CHOICES)


def page_of(path: Path, data: Any, **options: Any) -> dict[str, Any]:
    write_gallery(path, gallery(data, **options))
    return data_of(path)


def same(a: PointSample | None, b: PointSample | None) -> bool:
    assert a is not None and b is not None
    fields = [(getattr(a, name), getattr(b, name)) for name in POINT_FIELDS]
    return a.name == b.name and all(np.array_equal(x, y) for x, y in fields)


def names(pairs: Any) -> list[str]:
    return [step.name for step, _ in pairs]


MIXED = Augmentation(
    mix=[
        OneOf(mixes=[LaserMix(p=0.1), PolarMix(classes=["car"], swap=0.2, paste=0.3)], p=0.4),
        LaserMix(num_areas=[2]),
    ],
    train=[RandomDropout(ratio=0.3), RandomRotate(axis="x"), RandomFlip(p=0.0)],
    mix3d=0.25,
)


def test_a_step_is_what_the_transform_gives_with_the_same_generator():
    data = scans(MIXED)
    first = gallery(data, scene="00/1", epochs=1)
    original = data.reader.read("00/1", "train")
    certain = (
        LaserMix(),
        PolarMix(classes=["car"], swap=1.0),
        LaserMix(num_areas=[2]),
        RandomDropout(ratio=0.3, p=1.0),
        RandomRotate(axis="x", p=1.0),
        RandomFlip(p=1.0),
    )
    drawn = []
    for place, made in enumerate(certain):
        rng = np.random.default_rng([5, 1, place])
        if place < 3:
            other = Drawing(data, 1)
            expected = made(original, other, rng)
            drawn.append(other.found[0].name)
        else:
            expected = made(original, rng)
        step, outcome = first.recipe[place]
        assert same(outcome.after, expected), step.name
        assert not same(outcome.after, original)
    assert [outcome.mates[0].name for _, outcome in first.recipe[:3]] == drawn
    # Mix3D, and the crop of voxels.
    other = Drawing(data, 1)
    rng = np.random.default_rng([5, 1, 6])
    assert same(first.recipe[6][1].after, join(original, other.draw(rng)))
    cropped = first.recipe[7][1].after
    assert cropped is not None and len(cropped) < len(original)


class Drawing:
    """The other scenes of one, drawn as the protocol says: each as often, never the scene."""

    def __init__(self, data: Any, index: int) -> None:
        self.data, self.index, self.found = data, index, list[PointSample]()
        self.spec = data.spec

    def draw(self, rng: np.random.Generator) -> PointSample:
        scenes = self.data.reader.scenes("train")
        other = scenes[(self.index + rng.integers(1, len(scenes))) % len(scenes)]
        self.found.append(self.data.reader.read(other, "train"))
        return self.found[-1]


def test_steps_stand_in_the_order_of_training_and_say_what_training_has():
    recipe = gallery(scans(MIXED)).recipe
    found = [(step.name, step.place) for step, _ in recipe]
    assert found == [
        ("LaserMix", "mix 1"),
        ("PolarMix", "mix 1"),
        ("LaserMix", "mix 2"),
        ("RandomDropout", "train 1"),
        ("RandomRotate", "train 2"),
        ("RandomFlip", "train 3"),
        ("Mix3D", "mix3d"),
        ("CropVoxels", "last"),
    ]
    steps = [step for step, _ in recipe]
    assert steps[1].parameters == "classes=['car'] swap=0.2 paste=0.3 p=1.0"
    assert steps[1].remark == "one of 2 in OneOf, p=0.4; here swap=1 and paste=1"
    assert (steps[2].remark, steps[3].remark) == ("", "here p=1")
    assert steps[3].parameters == "ratio=0.3 p=0.2"
    assert steps[6].parameters == "mix3d=0.25"
    assert steps[7].parameters == "max_voxels=300 voxel_size=2"


def test_the_pipeline_is_the_sample_of_training(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    arguments = [
        *TINY,
        "augment=indoor_mix3d",
        "dataset.max_scenes=2",
        f"paths.cache_dir={tmp_path}",
    ]
    data = build_data(compose_config("config", arguments))
    data.prepare_data()
    training = data.train_dataloader().dataset
    scene = training.scenes[2]
    pipeline = gallery(data, scene=scene, epochs=2).pipeline
    assert list(pipeline) == ["epoch 0", "epoch 1", f"epoch 0, merged with {training.scenes[0]}"]
    for key, outcome in zip(
        (SampleKey(0, 2), SampleKey(1, 2), SampleKey(0, 2, 0)), pipeline.values(), strict=True
    ):
        expected = training[key]
        assert same(outcome.after, expected.points)
        assert outcome.num_voxels == expected.num_voxels
    assert not same(pipeline["epoch 0"].after, pipeline["epoch 1"].after)


def test_the_pipeline_has_mixes():
    data = scans(Augmentation(mix=[LaserMix()], train=[RandomShift()]))
    pipeline = gallery(data, scene="00/1", epochs=2).pipeline
    rng = np.random.default_rng([5, 1, 1])  # of seed, epoch and scene
    mixed = LaserMix()(data.reader.read("00/1", "train"), Drawing(data, 1), rng)
    voxels = data.voxelize(RandomShift()(mixed, rng))
    assert same(pipeline["epoch 1"].after, CropVoxels(max_voxels=300)(voxels, rng).points)


def all_transforms() -> Iterator[Any]:
    yield from (getattr(transforms, name) for name in transforms.__all__ if name not in NO_STEPS)


@pytest.mark.parametrize("made", [*all_transforms(), OneOf], ids=lambda made: made.__name__)
def test_every_probability_is_known(made):
    text = (made.__doc__ or "").partition("Args:")[2]
    documented = set(re.findall(r"^ {8}(\w+): probability ", text, re.M))
    present = {field.name for field in dataclasses.fields(made)}
    assert documented == present & set(PROBABILITIES)


def test_forced_changes_nothing_else():
    made = PolarMix(classes=["car"], swap=0.0, p=0.5)
    assert forced(made) == PolarMix(classes=["car"], swap=1.0, paste=1.0, p=1.0)
    assert forced(CenterShift()) == CenterShift()
    assert forced(len) is len


@pytest.mark.parametrize("name", [path.stem for path in (conf_dir() / "augment").glob("*.yaml")])
@pytest.mark.parametrize("make", [rooms, scans])
def test_no_transform_is_forgotten(make, name, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", "nowhere")
    config = compose_config("config", ["dataset=synthetic_streets", f"augment={name}"])
    data = make(instantiate(config.dataset.augment, _convert_="all"))
    samples = data.reader.samples.values()  # small: elastic distortion fills their box
    data.reader.samples = {s.name: s.with_(xyz=s.xyz / 10) for s in samples}
    found = gallery(data, epochs=1)
    unfit = dict(found.unfit)
    shown = [*dict.fromkeys(names(found.recipe)), *names(found.others), *unfit]
    assert len(shown) == len(set(shown))
    expected = {name for name in transforms.__all__ if name not in NO_STEPS}
    assert set(shown) == expected | {"Mix3D", "CropVoxels"}
    assert all(len(reason) > 20 for reason in unfit.values())
    assert all(step.place for step, _ in found.recipe)
    assert not any(step.place for step, _ in found.others)


def test_what_does_not_fit_says_why():
    unfit = dict(gallery(scans()).unfit)
    assert "not for scans of a LiDAR" in unfit["ElasticDistortion"]
    assert "needs 'color'" in unfit["ChromaticJitter"]
    assert "no bank" in unfit["InstanceCutMix"]
    others = {step.name: step for step, _ in gallery(scans()).others}
    assert "'car'" in others["PolarMix"].parameters, "classes with instances"
    unfit = dict(gallery(rooms()).unfit)
    assert unfit.keys() == {"InstanceCutMix", "LaserMix", "PolarMix"}
    assert "which scenes of scannet20 are not" in unfit["LaserMix"]


def test_a_transform_without_defaults_is_named(monkeypatch):
    @dataclasses.dataclass
    class New:
        secret: float

        def __call__(self, sample, rng):
            return sample

    monkeypatch.setattr(transforms, "New", New, raising=False)
    monkeypatch.setattr(transforms, "__all__", [*transforms.__all__, "New"])
    assert "secret" in dict(gallery(rooms()).unfit)["New"]


class Broken:
    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        raise IndexError("nowhere")


class Writing:
    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        sample.xyz[:] = 0
        return sample


def emptied(sample: PointSample, rng: np.random.Generator) -> PointSample:
    return sample.select(np.arange(0))


def test_a_step_that_fails_is_shown_with_its_error(tmp_path):
    augment = Augmentation(train=[Broken(), Writing(), emptied, RandomShift()])
    page = page_of(tmp_path / "a.html", rooms(augment))
    cards = {card["name"]: card for card in page["sections"][1]["cards"]}
    assert list(cards) == ["Broken", "Writing", "emptied", "RandomShift", "CropVoxels"]
    assert cards["Broken"]["error"] == "IndexError: nowhere"
    assert "read-only" in cards["Writing"]["error"]
    assert "no points" in cards["emptied"]["error"]
    assert not any(cards[name]["pictures"] for name in ("Broken", "Writing", "emptied"))
    assert len(cards["RandomShift"]["pictures"]) == 2 and not cards["RandomShift"]["error"]
    (pipeline,) = page["sections"][0]["cards"]
    assert pipeline["error"] == "IndexError: nowhere" and not pipeline["pictures"]


def chair_moves(sample: PointSample, rng: np.random.Generator) -> PointSample:
    """Far enough that a camera of its own would see all else smaller."""
    is_chair = np.equal(sample.segment, CHAIR)[:, None]
    return sample.with_(xyz=np.where(is_chair, sample.xyz + np.float32([9, -7, 0]), sample.xyz))


def test_before_and_after_have_one_camera(tmp_path):
    augment = Augmentation(train=[chair_moves, ChromaticJitter(p=0.0), RandomDropout(ratio=0.5)])
    page = page_of(tmp_path / "a.html", rooms(augment))
    moved, jitter, dropout = page["sections"][1]["cards"][:3]
    before, after = decoded(page, moved, "ground truth")
    both = (before != 255).any(axis=2) & (after != 255).any(axis=2)
    assert both.mean() > 0.02 and (before != after).any()
    assert (before[both] == after[both]).all(axis=1).mean() > 0.8
    # Where all fits into the original's picture, that is drawn once and stays.
    originals = [card["pictures"][0]["images"] for card in (moved, jitter, dropout)]
    assert originals[0] != originals[1] == originals[2]
    # Discs are of one size: of half the points the picture has holes.
    before, after = decoded(page, dropout, "ground truth")
    assert ((after == 255).all(axis=2) & ~(before == 255).all(axis=2)).sum() > 100


def decoded(page: dict[str, Any], card: dict[str, Any], layer: str) -> list[np.ndarray]:
    numbers = [picture["images"][layer] for picture in card["pictures"]]
    return [decode_png(base64.b64decode(page["images"][number])) for number in numbers]


def test_layers_and_their_legends(tmp_path):
    page = page_of(tmp_path / "a.html", scans(MIXED))
    assert page["layers"] == ["intensity", "ground truth", "scenes"]
    for section in page["sections"]:
        for card in section["cards"]:
            for picture in card["pictures"]:
                assert list(picture["images"]) == page["layers"]
    laser = page["sections"][1]["cards"][0]
    titles = [picture["title"] for picture in laser["pictures"]]
    assert titles[::2] == ["original", "after"] and titles[1] in ("drawn: 00/1", "drawn: 00/2")
    shares = []
    for image in decoded(page, laser, "scenes"):
        seen = image[(image != 255).any(axis=2)].astype(int)
        shares.append((seen[:, 0] > seen[:, 2]).mean())  # orange, not blue
    assert shares[0] == 0 and shares[1] == 1 and 0.2 < shares[2] < 0.8
    legend = page["legends"]["ground truth"]
    assert {"name": "car", "color": "#6496f5"} in legend and len(legend) == 19
    assert page["legends"]["scenes"][0]["name"] == "00/0"


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({"color": None}, ["height", "ground truth", "scenes"]),
        ({"segment": None}, ["colour", "scenes"]),
        ({"color": None, "segment": None}, ["height", "scenes"]),
    ],
)
def test_data_without_colour_or_labels(tmp_path, fields, layers):
    page = page_of(tmp_path / "a.html", rooms(MIXED_ROOMS, **fields))
    assert page["layers"] == layers
    cards = {card["name"]: card for section in page["sections"] for card in section["cards"]}
    has_color = "color" not in fields
    assert bool(cards["ChromaticJitter"]["pictures"]) == has_color
    assert ("needs 'color'" in cards["ChromaticJitter"]["error"]) != has_color
    assert bool(cards[""]["pictures"]) == has_color, "training fails likewise"


MIXED_ROOMS = Augmentation(train=[ChromaticJitter(), CenterShift()], mix3d=0.5)


def test_what_a_step_changes_is_said(tmp_path):
    before = make_sample("a", 3)
    assert changes(before, before) == []
    shuffled = before.select(np.random.default_rng(0).permutation(len(before)))
    assert changes(before, shuffled) == [], "the same points in another order"
    assert changes(before, before.select(np.arange(50))) == ["points"]
    moved = before.with_(xyz=before.xyz + 1, origin=before.origin - 1, color=before.color + 1)
    found = changes(before, moved.select(np.arange(9)))
    assert found == ["points", "coordinates", "colour", "origin"]
    assert changes(before, before.with_(segment=None)) == ["labels"]
    assert changes(before, join(before, make_sample("b"))) == ["points"]
    augment = Augmentation(train=[RandomShift(max_shift=[0, 0, 2])])
    page = page_of(tmp_path / "a.html", rooms(augment))
    card, crop = page["sections"][1]["cards"]
    table = {row["name"]: row["cells"] for row in card["rows"]}
    assert card["columns"] == ["original", "after"]
    assert table.keys() == {"changes", "lowest corner", "moved"}
    assert table["changes"] == ["", "coordinates"]
    first, second = re.findall(r"[\d.]+", table["moved"][1])
    assert first == second and 0 < float(first) <= 2
    assert "points" in {row["name"] for row in crop["rows"]}


def test_the_page_needs_nothing_else(tmp_path):
    path = tmp_path / "a.html"
    data = rooms(Augmentation(train=[CenterShift()]))
    evil = "</script><b>"
    data.reader.samples = {evil: data.reader.samples["a"].with_(name=evil)}
    size = write_gallery(path, gallery(data))
    text = path.read_text()
    assert size == len(text.encode())
    assert not re.search(r"https?:|<(link|img)[^>]*(src|href)=|@import|url\(", text)
    assert evil not in text and data_of(path)["title"] == f"Augmentation of {evil}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene": "c"}, "scene=c: split train of nowhere has no such scene; it has a, b. Name"),
        ({"split": "test"}, "split 'test' has no scenes"),
    ],
)
def test_a_scene_that_is_not_there(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        gallery(rooms(), **options)


def test_of_many_scenes_some_are_named():
    data = rooms()
    data.reader.samples = {f"s{k}": data.reader.samples["a"] for k in range(30)}
    with pytest.raises(ValueError, match=r"s0, .*, s7 and 22 more\. Name"):
        gallery(data, scene="t")
