"""What one pass of a scene through a network shows: scores, chosen codes, sampled points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.models.point_transformer import PointTransformer
from pc3d.nn import Choice, Codebook, CodeSpec
from pc3d.nn.choice import observe_choices
from pc3d.sparse import Batch, CoordSet, PointSet
from pc3d.tasks.codebook import choices_of
from pc3d.tasks.tiling import predict_points
from visualize.codes import BlockCodes

_MAX_LEVELS = 18  # bits of a coordinate in a key: below there is nothing left to halve


@dataclass(frozen=True)
class Pass:
    """What P points went through in one pass.

    Attributes:
        probabilities: [P, C] float32.
        blocks: an entry for each block with codebooks, in the order in which they run.
        stages: [P] integers, the last stage of a point transformer that the point of the voxel is
            part of, 0 the finest; None for other networks, and where stages do not sample.
    """

    probabilities: NDArray[np.float32]
    blocks: list[BlockCodes]
    stages: NDArray[np.int64] | None


def one_pass(network: nn.Module, batch: Batch, max_voxels: int) -> Pass:
    """Watch a network score a scene.

    Args:
        network: a `pc3d.models.SegmentationModel` in evaluation mode.
        batch: P points of whole scenes.
        max_voxels: budget of one forward pass, see `predict_points`. Stages are those of the tile
            that scores a point.

    Raises:
        ValueError: a choice that does not have a row for each voxel of a level.
    """
    watched = _Watched(network)
    with torch.no_grad():
        seen = predict_points(watched, batch, max_voxels).cpu()
    num_weights = sum(block.num_codes for block in watched.blocks.values())
    weights, stage, logits = seen.tensor_split([num_weights, num_weights + 1], dim=1)
    return Pass(
        probabilities=logits.softmax(dim=1).numpy(),
        blocks=_blocks(network, watched.blocks, weights, batch) if num_weights else [],
        stages=stage.squeeze(1).long().numpy() if watched.samples else None,
    )


def chosen_codes(network: nn.Module, batch: Batch, max_voxels: int) -> list[BlockCodes]:
    """The code with the largest weight, averaged over groups, at every point.

    Args:
        network: a `pc3d.models.SegmentationModel` in evaluation mode, with at least one `Choice`.
        batch: P points of whole scenes.
        max_voxels: budget of one forward pass, see `predict_points`.

    Returns:
        One entry for each block with codebooks, in the order in which they run. Of equal weights
        the code with the smaller number is taken.

    Raises:
        ValueError: a choice that does not have a row for each voxel of a level.
    """
    return one_pass(network, batch, max_voxels).blocks


def _blocks(
    network: nn.Module, watched: dict[str, _Block], weights: Tensor, batch: Batch
) -> list[BlockCodes]:
    """The blocks from the weights of their codes, [P, codes of all blocks]."""
    full_names = [name for name, m in network.named_modules() if isinstance(m, Choice)]
    short_names = dict(zip(full_names, choices_of(network), strict=True))
    rows_at = {level.coords.stride: level.rows for level in levels(batch.voxels.coords)}
    widths = [block.num_codes for block in watched.values()]
    blocks = []
    for (name, block), part in zip(watched.items(), weights.split(widths, dim=1), strict=True):
        codes = part.argmax(dim=1).numpy()
        voxels = rows_at[block.stride][batch.point2voxel].cpu().numpy()
        _, point_of_voxel = np.unique(voxels, return_index=True)
        counts = np.bincount(codes[point_of_voxel], minlength=block.num_codes)
        blocks.append(
            BlockCodes(
                name=short_names[name],
                stride=block.stride,
                neighborhoods=_neighborhoods(network, name, block.num_codes),
                shares=counts / len(point_of_voxel),
                codes=codes,
            )
        )
    return blocks


class Level(NamedTuple):
    """A coarser set below another.

    Attributes:
        coords: M voxels.
        rows: [N] int64, the row in `coords` of the voxel that each of the N finest ones lies in.
    """

    coords: CoordSet
    rows: Tensor


def levels(coords: CoordSet) -> Iterator[Level]:
    """A set and the sets of half, a quarter, ... of its resolution, as a U-Net goes down."""
    rows = torch.arange(len(coords), device=coords.device)
    for _ in range(_MAX_LEVELS):
        yield Level(coords, rows)
        coords, kernel_map = coords.down()
        rows = kernel_map.parents.long()[rows]


class _Block(NamedTuple):
    num_codes: int
    stride: int


class _Watched:
    """A network whose scores are, side by side, the weights of its codes, the stage at which the
    voxel's point was last sampled, and the network's own scores.

    Large scenes can so be cut into the same tiles as for their prediction.

    Attributes:
        blocks: what the blocks look like, by the full name of their choice, in the order of the
            scores' columns. Those of queries and keys of a point transformer are left out: they
            have no neighbourhoods.
        samples: whether the network takes points of each stage for the next one.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self.blocks: dict[str, _Block] = {}
        self._num_samplings = 0
        self._is_of_points = isinstance(network, PointTransformer)
        if isinstance(network, PointTransformer) and network.sampling == "fps":
            self._num_samplings = len(network.down)

    @property
    def samples(self) -> bool:
        return self._num_samplings > 0

    def __call__(self, batch: Batch) -> SegmentationOutput:
        with observe_choices(self._network) as seen:
            output: SegmentationOutput = self._network(batch)
        columns = []
        for name, weights in {} if self._is_of_points else seen.items():
            level = level_of(batch.voxels.coords, len(weights), name)
            known = self.blocks.get(name)
            stride = max(level.coords.stride, known.stride if known else 1)
            self.blocks[name] = _Block(weights.shape[1], stride)
            columns.append(weights.mean(dim=2)[level.rows])
        columns.append(last_stages(batch, self._num_samplings).unsqueeze(1))
        at_points = [column[batch.point2voxel].float() for column in columns]
        return SegmentationOutput(
            torch.cat([*at_points, output.at_points(batch).float()], dim=1), support="point"
        )


def last_stages(batch: Batch, num_samplings: int) -> Tensor:
    """[N] int64: how often in a row the point of each voxel is taken by farthest point sampling."""
    coords = batch.voxels.coords
    stages = torch.zeros(len(coords), dtype=torch.int64, device=coords.device)
    if num_samplings == 0:
        return stages
    points, rows = PointSet.of_batch(batch), torch.arange(len(coords), device=coords.device)
    for stage in range(1, num_samplings + 1):
        points = points.down("fps")
        assert points.rows is not None
        rows = rows[points.rows]
        stages[rows] = stage
    return stages


def level_of(coords: CoordSet, num_voxels: int, name: str) -> Level:
    """The level of that many voxels.

    Levels of equally many voxels have the same rows: each coarse voxel holds one fine voxel, and
    halving keeps the order of the keys. So it does not matter which of them is taken.
    """
    sizes = []
    for level in levels(coords):
        if len(level.coords) == num_voxels:
            return level
        sizes.append(len(level.coords))
        if sizes[-1] < num_voxels:
            break
    raise ValueError(
        f"{name} chose for {num_voxels} rows, but the levels of this scene have "
        f"{', '.join(map(str, sizes))} voxels: codes can be shown where each voxel of a level "
        "chooses."
    )


def _neighborhoods(network: nn.Module, choice: str, num_codes: int) -> tuple[str, ...]:
    """The codes of a choice in words; empty strings if no codebook stands beside it."""
    owner = network.get_submodule(choice.rpartition(".")[0])
    codebook = getattr(owner, "codebook", None)
    if not isinstance(codebook, Codebook):
        return ("",) * num_codes
    return tuple(describe(spec) for spec in codebook.specs)


def describe(spec: CodeSpec) -> str:
    """The neighbourhood of a code: `"cube, dilation 2"`, `"cross of size 5, dilation 1"`.

    Voxels of twice the size are named: `"cube, dilation 1, twice the stride"`.
    """
    shape = "masked cube" if spec.shape == "mask" else spec.shape
    size = "" if spec.size == 3 else f" of size {spec.size}"
    stride = ", twice the stride" if spec.stride == 2 else ""
    return f"{shape}{size}, dilation {spec.dilation}{stride}"
