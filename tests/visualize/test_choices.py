"""Codes at points against hand-made choices: levels by floor division, not by the sets' maps."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pc3d.models import VoxelTransformer
from pc3d.models.api import SegmentationOutput
from pc3d.nn import Choice, CodebookAttention, CodeSpec, VoxelTransformerBlock
from pc3d.nn.choice import observe_choices
from pc3d.sparse import Batch, CoordSet, PointBatch, SparseTensor
from tests.attack import asymmetric, random_points
from tests.oracle import Row, coarse_rows, parent, voxelize
from visualize.choices import chosen_codes, describe
from visualize.run_pass import tile_of_points

POINTS = random_points(300, 0, -21, 22, 7)
WHOLE = 10**6


def batch_of(points: list[Row]) -> Batch:
    """One cloud; a point's place is that of its voxel."""
    rows, point2voxel, _ = voxelize(points)
    coords = CoordSet(torch.tensor(rows, dtype=torch.int32), batch_size=1)
    point_batch = PointBatch(
        names=("a",),
        offsets=torch.tensor([0, len(points)]),
        xyz=torch.tensor([point[1:] for point in points], dtype=torch.float32),
        origin=torch.zeros(1, 3, dtype=torch.float64),
        row=torch.arange(len(points)),
    )
    voxels = SparseTensor(coords, asymmetric(len(rows), 2, dtype=torch.float32))
    return Batch(point_batch, voxels, torch.tensor(point2voxel))


def code_of(x: int, y: int, z: int) -> int:
    """The code that a voxel at this place of its own lattice chooses."""
    return (x + 2 * y + 5 * z) % 3


class ByPlace(nn.Module):
    """A network that chooses by place, in blocks after so many halvings, the coarsest first."""

    def __init__(self, **halvings: int) -> None:
        super().__init__()
        self.halvings = dict(sorted(halvings.items(), key=lambda item: -item[1]))
        self.blocks = nn.ModuleDict({name: Choice("st_argmax") for name in sorted(halvings)})

    def forward(self, batch: Batch) -> SegmentationOutput:
        for name, number in self.halvings.items():
            coords = batch.voxels.coords
            for _ in range(number):
                coords = coords.down()[0]
            codes = [code_of(*place) for place in coords.indices[:, 1:].tolist()]
            logits = nn.functional.one_hot(torch.tensor(codes), 3).float()
            self.blocks[name](logits.unsqueeze(2).expand(-1, -1, 4))
        return SegmentationOutput(torch.zeros(len(batch.voxels.coords), 2))


class Given(nn.Module):
    """A network with one choice, of these weights."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights, self.choice = weights, Choice()

    def forward(self, batch: Batch) -> SegmentationOutput:
        self.choice(self.weights.log())  # softmax(log w) = w where w sums to 1
        return SegmentationOutput(torch.zeros(len(batch.voxels.coords), 2))


@pytest.mark.parametrize("max_voxels", [WHOLE, 70], ids=["whole", "tiled"])
def test_points_take_the_code_of_the_voxel_that_holds_them_at_every_level(max_voxels: int):
    network = ByPlace(fine=0, middle=1, coarse=3).eval()
    blocks = chosen_codes(network, batch_of(POINTS), max_voxels)
    assert [(block.name, block.stride) for block in blocks] == [
        ("blocks.coarse", 8),
        ("blocks.middle", 2),
        ("blocks.fine", 1),
    ]
    for block in blocks:
        places = [tuple(c // block.stride for c in point[1:]) for point in POINTS]
        assert block.codes.tolist() == [code_of(*place) for place in places]
        voxels = [code_of(*place) for place in set(places)]
        counts = np.bincount(voxels, minlength=3)
        np.testing.assert_allclose(block.shares, counts / len(voxels))
        assert set(block.codes.tolist()) == {0, 1, 2}


def test_shares_count_voxels_and_not_points():
    crowded, others = (0, 5, 5, 5), [(0, 0, 0, 0), (0, 2, 0, 0), (0, 0, 4, 0)]
    rows, _, _ = voxelize([crowded, *others])
    codes = torch.tensor([2 if row == crowded else 0 for row in rows])
    weights = nn.functional.one_hot(codes, 3).float().unsqueeze(2).clamp(min=1e-6)
    (block,) = chosen_codes(Given(weights), batch_of([crowded] * 9 + others), WHOLE)
    assert block.codes.tolist() == [2] * 9 + [0] * 3
    assert block.shares.tolist() == [0.75, 0.0, 0.25]


def test_the_largest_mean_over_groups_wins_and_not_the_most_groups():
    groups = torch.tensor([[0.5, 0.4, 0.1], [0.5, 0.4, 0.1], [0.05, 0.9, 0.05]])
    (block,) = chosen_codes(Given(groups.T.unsqueeze(0)), batch_of([(0, 3, -1, 2)]), WHOLE)
    assert block.codes.tolist() == [1]


def test_levels_of_equally_many_voxels_are_told_apart_by_nothing_that_matters():
    """Voxels far apart stay apart: 4 rows fit every level, and all have the same order."""
    points = [(0, 64, -64, 0), (0, 0, 0, 0), (0, -64, 64, 64), (0, 0, 64, -64)]
    (block,) = chosen_codes(ByPlace(quarter=2), batch_of(points), WHOLE)
    assert block.codes.tolist() == [code_of(x // 4, y // 4, z // 4) for _, x, y, z in points]


@pytest.mark.parametrize(
    ("num_rows", "levels"), [(6, "5"), (4, "5, 3"), (2, "5" + 17 * ", 3")], ids=str
)
def test_rows_that_are_no_level_are_refused(num_rows: int, levels: str):
    """Levels of 5 voxels and, as these three parents never meet across zero, of 3 for ever."""
    points = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 1), (0, 8, 0, -1), (0, 8, -1, 0)]
    weights = torch.full((num_rows, 2, 1), 0.5)
    expected = f"choice chose for {num_rows} rows, but the levels of this scene have {levels} vox"
    with pytest.raises(ValueError, match=expected):
        chosen_codes(Given(weights), batch_of(points), WHOLE)


SPECS = [{"dilation": 2}, {"shape": "cross", "size": 5}, {"stride": 2}]
WORDS = ("cube, dilation 2", "cross of size 5, dilation 1", "cube, dilation 1, twice the stride")


def transformer(kind: str) -> VoxelTransformer:
    torch.manual_seed(0)
    attention = partial(CodebookAttention, codes=SPECS, groups=2, choice={"kind": kind})
    return VoxelTransformer(
        in_channels=2,
        num_classes=3,
        block=partial(VoxelTransformerBlock, attention=attention),
        widths=[4, 6, 8, 6],
        depths=[1, 1, 1, 2],
        attention_stages=[1, 2, 3],
    ).eval()


@pytest.mark.parametrize("kind", ["soft", "st_argmax"])
def test_blocks_of_a_voxel_transformer(kind: str):
    """Two stages down, two up: stride 4, then 2, then 1, with the weights that were seen there."""
    network, batch = transformer(kind), batch_of(POINTS)
    with observe_choices(network) as seen, torch.no_grad():
        network(batch)
    blocks = chosen_codes(network, batch, WHOLE)
    names = ["encoder.1.0", "decoder.0.0", "decoder.1.0", "decoder.1.1"]
    assert [block.name for block in blocks] == names
    assert [block.stride for block in blocks] == [4, 2, 1, 1]
    rows, _, _ = voxelize(POINTS)
    for block, weights in zip(blocks, seen.values(), strict=True):
        assert block.neighborhoods == WORDS
        level, places = rows, POINTS
        for _ in range(block.stride.bit_length() - 1):
            level, places = coarse_rows(level), [parent(place) for place in places]
        means = weights.mean(dim=2)
        expected = [int(means[level.index(place)].argmax()) for place in places]
        assert block.codes.tolist() == expected
    assert any(len(set(block.codes.tolist())) >= 2 for block in blocks)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "spec, words",
    [
        (CodeSpec(dilation=2), "cube, dilation 2"),
        (CodeSpec(shape="cross", dilation=3), "cross, dilation 3"),
        (CodeSpec(size=5), "cube of size 5, dilation 1"),
        (CodeSpec(shape="mask", masks=["1" * 27]), "masked cube, dilation 1"),
        (CodeSpec(stride=2), "cube, dilation 1, twice the stride"),
    ],
)
def test_neighbourhoods_in_words(spec: CodeSpec, words: str):
    assert describe(spec) == words


def test_the_tile_of_a_point_is_the_one_whose_core_holds_it():
    """A row of 400 voxels is halved until a part and 32 voxels on either side are at most 150."""
    points = [(0, x, -3, 2) for x in range(400)]
    found = tile_of_points(batch_of(points), 150)
    assert found is not None
    starts = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist()]
    assert starts == [0, 100, 150, 200, 250, 300]
    assert sorted(found[starts]) == [1, 2, 3, 4, 5, 6]
    assert tile_of_points(batch_of(points), 400) is None
