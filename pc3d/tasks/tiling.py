"""Scores for scenes of any size: a scene over the voxel budget is cut into overlapping tiles."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pc3d.models.api import SegmentationModel
from pc3d.sparse import Batch, CoordSet

MARGIN = 32
"""Voxels of context around a tile's core: the reach of a few layers at stride 16."""


def predict_points(network: SegmentationModel, batch: Batch, max_voxels: int) -> Tensor:
    """Scores of every point of a batch, in input order.

    Args:
        network: in evaluation mode.
        batch: one or more whole scenes.
        max_voxels: budget of one forward pass. A batch over it is cut into tiles whose cores do not
            overlap; each point is scored once, in the tile whose core holds its voxel.

    Returns:
        [P, num_classes] float32.
    """
    if len(batch.voxels.coords) <= max_voxels:
        return network(batch).at_points(batch).float()
    scores: Tensor | None = None
    for context, core in tiles(batch.voxels.coords, max_voxels):
        tile = batch.select_voxels(context)
        tile_scores = network(tile).at_points(tile).float()
        in_core = core[batch.point2voxel]
        if scores is None:
            scores = tile_scores.new_zeros((batch.points.num_points, tile_scores.shape[1]))
        scores[in_core] = tile_scores[in_core[context[batch.point2voxel]]]
    if scores is None:
        raise ValueError("the batch has no voxels")
    return scores


def tiles(coords: CoordSet, max_voxels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a set into tiles of at most `max_voxels` voxels, context included.

    The set is halved at the median of its longest horizontal axis until each part fits.

    Args:
        coords: N voxels.
        max_voxels: budget of a tile.

    Yields:
        context [N] bool, the voxels of the tile, and core [N] bool, those that it is responsible
        for. The cores partition the set. A margin that would break the budget is left out.

    Raises:
        ValueError: a budget below 1.
    """
    if max_voxels < 1:
        raise ValueError(f"max_eval_voxels must be at least 1; got {max_voxels}")
    pending = [torch.ones(len(coords), dtype=torch.bool, device=coords.device)]
    while pending:
        core = pending.pop()
        context = _with_margin(coords, core)
        if int(context.sum()) <= max_voxels:
            yield context, core
        elif int(core.sum()) <= (max_voxels + 1) // 2:
            yield core, core
        else:
            pending.extend(_halve(coords, core))


def _with_margin(coords: CoordSet, core: Tensor) -> Tensor:
    indices = coords.indices
    inside = torch.ones_like(core)
    for axis in (0, 1, 2):  # cloud, x, y: the full height stays together
        column = indices[:, axis]
        margin = MARGIN if axis else 0
        inside &= (column >= column[core].min() - margin) & (column <= column[core].max() + margin)
    return inside


def _halve(coords: CoordSet, core: Tensor) -> tuple[Tensor, Tensor]:
    part = coords.indices[core]
    extent = part.max(dim=0).values - part.min(dim=0).values
    if extent[0] > 0:  # between clouds, never through one
        first = core & (coords.indices[:, 0] <= (part[0, 0] + part[-1, 0]) // 2)
        return first, core & ~first
    axis = 1 + int(extent[1:3].argmax())  # of a single column, key order is order in height
    order = part[:, axis].argsort(stable=True)
    rows = core.nonzero().squeeze(1)[order]
    first, second = torch.zeros_like(core), torch.zeros_like(core)
    first[rows[: len(rows) // 2]] = True
    second[rows[len(rows) // 2 :]] = True
    return first, second
