"""What a score depends on, against finite differences and networks whose answer is known."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pc3d.data.specs import SCANNET20
from pc3d.models import VoxelTransformer
from pc3d.models.api import SegmentationOutput
from pc3d.nn import Choice
from pc3d.sparse import Batch, SparseTensor
from pc3d.tasks import tiling
from tests.visualize.test_choices import POINTS, batch_of, transformer
from tests.visualize.test_run import CODEBOOK, run_folder
from tests.visualize.test_scene import read_scene, views
from visualize.__main__ import main
from visualize.attribution import Target, attribute, attribution_layers, parse_target
from visualize.choices import levels
from visualize.sources import scene_of_run

WHOLE = 10**6
XYZ = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.5], [3.0, 0.0, 0.0]])


class Linear(nn.Module):
    """Scores of a voxel: its first feature times (1, 2, 3)."""

    def forward(self, batch: Batch) -> SegmentationOutput:
        scale = torch.tensor([1.0, 2.0, 3.0])
        return SegmentationOutput(batch.voxels.feats[:, :1] * scale)


def small_network() -> VoxelTransformer:
    """With weights that make choices differ."""
    network = transformer("soft").requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for weight in network.parameters():
        weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return network


@torch.no_grad()
def score(network: nn.Module, batch: Batch, feats: Tensor, target: Target, rows: Tensor) -> float:
    batch = dataclasses.replace(batch, voxels=SparseTensor(batch.voxels.coords, feats))
    logits = network(batch).at_points(batch)
    return float(logits[rows, target.class_index].double().sum())


def explained_rows(network: nn.Module, batch: Batch, target: Target) -> Tensor:
    if target.row is not None:
        return torch.tensor([target.row])
    with torch.no_grad():
        return (network(batch).at_points(batch).argmax(dim=1) == target.class_index).nonzero()[:, 0]


def common_class(network: nn.Module, batch: Batch) -> int:
    with torch.no_grad():
        return int(network(batch).at_points(batch).argmax(dim=1).mode().values)


@pytest.mark.parametrize("of_point", [False, True])
def test_saliency_is_the_slope_of_the_score(of_point: bool):
    network, batch = small_network(), batch_of(POINTS)
    target = Target(common_class(network, batch), 7 if of_point else None)
    found = attribute(network, batch, WHOLE, target)
    rows = explained_rows(network, batch, target)
    assert found is not None and found.num_points == len(rows)
    feats, step = batch.voxels.feats, 1e-2
    assert found.score == pytest.approx(score(network, batch, feats, target, rows), rel=1e-4)
    order = found.saliency.argsort()
    for point in order[[-1, -20, len(order) // 2]]:
        slopes = []
        for channel in range(feats.shape[1]):
            moved = torch.zeros_like(feats)
            moved[batch.point2voxel[point], channel] = step
            ends = (score(network, batch, feats + s * moved, target, rows) for s in (1, -1))
            up, down = ends
            slopes.append((up - down) / (2 * step))
        expected, scale = np.linalg.norm(slopes), float(found.saliency.max())
        assert found.saliency[point] == pytest.approx(expected, rel=0.03, abs=0.003 * scale)


def test_points_of_a_voxel_share_its_saliency_and_only_what_is_explained_counts():
    batch = batch_of(POINTS)
    found = attribute(Linear(), batch, WHOLE, Target(2, None))
    positive = batch.voxels.feats[:, 0] > 0  # where 3 x is the largest of x, 2 x, 3 x
    assert found is not None
    expected = 3.0 * positive[batch.point2voxel] * batch.point2voxel.bincount()[batch.point2voxel]
    np.testing.assert_allclose(found.saliency, expected)
    assert found.num_points == int(positive[batch.point2voxel].sum()) and found.gains == {}
    one = attribute(Linear(), batch, WHOLE, Target(None, 4))
    assert one is not None and one.num_points == 1
    row = batch.point2voxel[4]
    assert one.class_index == (2 if positive[row] else 0)
    np.testing.assert_array_equal(one.saliency > 0, batch.point2voxel == row)


def test_tiles_explain_each_point_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiling, "MARGIN", 3)
    batch = batch_of(POINTS)
    parts = list(tiling.tiles(batch.voxels.coords, 200))
    assert sum(int(context.sum()) for context, _ in parts) > len(batch.voxels.coords), "overlap"
    whole = attribute(Linear(), batch, WHOLE, Target(2, None))
    tiled = attribute(Linear(), batch, 200, Target(2, None))
    assert whole is not None and tiled is not None
    np.testing.assert_allclose(tiled.saliency, whole.saliency)
    assert (tiled.num_points, tiled.score) == (whole.num_points, pytest.approx(whole.score))
    network = small_network()
    at_point = attribute(network, batch, 200, Target(None, 11))
    assert at_point is not None and at_point.num_points == 1 and (at_point.saliency > 0).any()


def test_a_class_that_is_nowhere_predicted_has_nothing_to_explain():
    assert attribute(Linear(), batch_of(POINTS), WHOLE, Target(1, None)) is None


def test_the_gain_is_how_the_score_falls_towards_an_equal_choice():
    network, batch = small_network(), batch_of(POINTS)
    target = Target(common_class(network, batch), None)
    found = attribute(network, batch, WHOLE, target)
    rows = explained_rows(network, batch, target)
    choices = [module for module in network.modules() if isinstance(module, Choice)]
    assert found is not None and len(choices) == len(found.gains) > 1
    for choice, gains in zip(choices, found.gains.values(), strict=True):
        point = int(np.abs(gains).argmax())
        voxel = batch.point2voxel[point]
        ends = []
        for step in (0.02, -0.02):

            def mix(module, args, w: Tensor, step: float = step, voxel: Tensor = voxel):
                level = next(x for x in levels(batch.voxels.coords) if len(x.coords) == len(w))
                row, moved = level.rows[voxel], w.clone()
                moved[row] += step * (1 / w.shape[1] - w[row])
                return moved

            handle = choice.register_forward_hook(mix)
            ends.append(score(network, batch, batch.voxels.feats, target, rows))
            handle.remove()
        slope = (ends[0] - ends[1]) / 0.04
        assert -gains[point] == pytest.approx(slope, rel=0.05) != 0


def test_no_gain_where_the_choice_is_equal_already():
    class Equal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Module()
            self.block.choice = Choice()

        def forward(self, batch: Batch) -> SegmentationOutput:
            feats = batch.voxels.feats
            weights = self.block.choice(0 * feats[:, :1].unsqueeze(2).expand(-1, 3, 2))
            return SegmentationOutput(feats * weights[:, 0])

    found = attribute(Equal().eval(), batch_of(POINTS), WHOLE, Target(0, None))
    assert found is not None and len(found.gains) == 1
    (gains,) = found.gains.values()
    np.testing.assert_allclose(gains, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chair", Target(SCANNET20.class_names.index("chair"), None)),
        ("1.1,2,0.4", Target(None, 1)),
        ("[2.9, 0, 0]", Target(None, 2)),
        ("table@0,0,0.1", Target(SCANNET20.class_names.index("table"), 0)),
    ],
)
def test_what_can_be_explained(text: str, expected: Target):
    assert parse_target(text, SCANNET20, XYZ) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chairs", "'chairs' is neither a class nor a place x,y,z; classes are wall, floor"),
        ("1,2", "a place is x,y,z in metres"),
        ("chair@1,2,x", "a place is x,y,z in metres"),
        ("nan,0,0", "a place is x,y,z in metres"),
        ("30,0,0", "the next point is 27.0 m away; the scene reaches from 0.0, 0.0, 0.0 to 3.0"),
    ],
)
def test_what_cannot_be_explained_is_told(text: str, told: str):
    with pytest.raises(ValueError, match="explain=") as error:
        parse_target(text, SCANNET20, XYZ)
    assert told in str(error.value)


@pytest.fixture(scope="module")
def run(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "codebook", data_dir, *CODEBOOK)


def test_a_page_shows_what_a_point_depends_on(run: Path, tmp_path: Path):
    plain = scene_of_run(run, "test", "")
    place = ",".join(f"{x:.3f}" for x in plain.xyz[50])
    main([f"run={run}", f"explain={place}", f"out={tmp_path / 'a.html'}", "max_points=2000"])
    page = read_scene(tmp_path / "a.html")
    assert {"SALIENCY", "GAIN OF CHOICE"} <= set(views(page))  # open
    assert "at one point" in page["subtitle"]
    scene = scene_of_run(run, "test", "", "encoder.1.0", place)
    layers = {layer.name: layer.values for layer in scene.layers}
    assert layers["saliency"].max() == 0 and layers["saliency"].min() >= -4
    far = np.linalg.norm(scene.xyz - scene.xyz[50], axis=1)
    near = layers["saliency"][far < 1].mean()
    assert near > layers["saliency"][far > np.percentile(far, 90)].mean()


def test_a_class_that_the_network_does_not_predict_is_told(run: Path):
    with pytest.raises(ValueError, match="no point of scene7501_00 is predicted so; only ") as told:
        for name in SCANNET20.class_names:
            scene_of_run(run, "test", "scene7501_00", "", name)
    assert name not in str(told.value).partition("only ")[2]


def test_without_its_checkpoint_a_run_explains_nothing(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="explain= needs the checkpoint"):
        scene_of_run(copy, "test", "", "", "chair")


def test_layers_are_drawn_by_decades():
    found = attribute(Linear(), batch_of(POINTS), WHOLE, Target(2, None))
    assert found is not None
    (layer,) = attribution_layers(found, "")
    assert layer.range == (-4.0, 0.0)
    np.testing.assert_allclose(
        10**layer.values, np.maximum(found.saliency / found.saliency.max(), 1e-4), rtol=1e-5
    )
