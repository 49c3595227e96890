"""Point Transformer (Zhao et al. 2021, arXiv 2012.09164) on ragged batches, without padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.models.auxiliary import check_weights, listen
from pc3d.nn.blocks import point_layer
from pc3d.nn.norm import PointNorm
from pc3d.nn.transitions import GlobalContext, TransitionDown, TransitionUp
from pc3d.sparse import Batch, Neighbors, NeighborSearch, PointSet
from pc3d.sparse.point_set import SAMPLINGS, Sampling

REGULARIZERS = ("usage", "balance")


class PointTransformer(nn.Module):
    """A U-Net over point sets: each stage takes a quarter of the points, and attends among them.

    There is one point per voxel of the batch, the mean of the points in it. A stage's searches are
    made once, for all of its blocks in encoder and decoder.

    Args:
        in_channels: channels of the voxel features.
        num_classes: classes to score.
        widths: channels of each stage, finest first.
        depths: blocks of each encoder stage; a decoder stage has one.
        num_neighbors: of a point in each stage's search for k nearest, or within a ball.
        block: `block(channels, norm=...)` makes a block, such as `PointTransformerBlock`.
        search: who is a point's neighbour: `kind` and `radius` of `NeighborSearch`.
        sampling: how points are chosen for the next stage: `"fps"` or `"strided"`; see `PointSet`.
        norm: over points: `"layer"`, or `"batch"` as published, which needs several scenes in a
            batch and some hundred points in the last stage. The stem's is a batch norm always: a
            layer norm would take away how large its few inputs are.
        regularizers: weights of the auxiliary losses `usage` and `balance` of choices
            (`pc3d.nn.choice`), for blocks that choose.

    Raises:
        ValueError: lists of different lengths, an unknown search, sampling or regularizer.
    """

    channel_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"stem.0.weight": 1})
    class_axes: ClassVar[Mapping[str, int]] = MappingProxyType({"head.weight": 0, "head.bias": 0})

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        num_neighbors: Sequence[int],
        block: Callable[..., nn.Module],
        search: Mapping[str, Any] | None = None,
        sampling: Sampling = "fps",
        norm: PointNorm = "layer",
        regularizers: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not len(widths) == len(depths) == len(num_neighbors) or not widths:
            raise ValueError(
                "widths, depths and num_neighbors need an entry per stage; got "
                f"{len(widths)}, {len(depths)} and {len(num_neighbors)}"
            )
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}; got {sampling!r}")
        self.searches = [NeighborSearch(k=k, **(search or {})) for k in num_neighbors]
        self.sampling: Sampling = sampling
        self.regularizers = check_weights(regularizers, REGULARIZERS)
        self.stem = point_layer(in_channels, widths[0], "batch", bias=False)
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(TransitionDown(fine, coarse) for fine, coarse in steps)
        self.up = nn.ModuleList(TransitionUp(coarse, fine, norm=norm) for fine, coarse in steps)
        self.encoder = nn.ModuleList(
            Blocks(block(width, norm=norm) for _ in range(depth))
            for width, depth in zip(widths, depths, strict=True)
        )
        self.context = GlobalContext(widths[-1], norm=norm)
        self.decoder = nn.ModuleList(block(width, norm=norm) for width in widths)
        self.neck = point_layer(widths[0], widths[0], norm)
        self.head = nn.Linear(widths[0], num_classes)

    def forward(self, batch: Batch) -> SegmentationOutput:
        """Logits [N, num_classes] at the voxels of the batch; auxiliary losses in training."""
        if not self.training:
            return SegmentationOutput(self._logits(batch))
        with listen(self, self.regularizers) as losses:
            logits = self._logits(batch)
        return SegmentationOutput(logits, aux_losses=losses)

    def _logits(self, batch: Batch) -> Tensor:
        levels = [PointSet.of_batch(batch)]
        for _ in self.down:
            levels.append(levels[-1].down(self.sampling))
        near = [
            level.neighbors(search) for level, search in zip(levels, self.searches, strict=True)
        ]

        x, encoded = self.stem(batch.voxels.feats), []
        for stage, level in enumerate(levels):
            if stage:
                finer = level.neighbors_in(levels[stage - 1], self.searches[stage])
                x = self.down[stage - 1](x, finer)
            x = self.encoder[stage](x, near[stage])
            encoded.append(x)

        x = self.decoder[-1](self.context(x, levels[-1]), near[-1])
        for stage in reversed(range(len(self.up))):
            x = self.up[stage](encoded[stage], levels[stage], x, levels[stage + 1])
            x = self.decoder[stage](x, near[stage])
        logits: Tensor = self.head(self.neck(x))
        return logits


class Blocks(nn.ModuleList):
    """Blocks of a stage in a row, over the same neighbours. Shape: [N, C] to [N, C]."""

    def forward(self, x: Tensor, near: Neighbors) -> Tensor:
        for block in self:
            x = block(x, near)
        return x
