"""Deep supervision: a loss at every stage of a decoder (Lee et al. 2015, arXiv 1409.5185).

A linear head scores the voxels of each stage but the last, whose head is the network's own; the
target of a voxel is the majority of the labels within it. Heads belong to the task: a network's
state, its exports and its inference are the same with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.data.spec import IGNORE_INDEX
from pc3d.nn.observe import observe_named
from pc3d.sparse import CoordSet, SparseTensor


class AuxiliaryHeads(nn.Module):
    """One linear head per decoder stage but the last.

    Args:
        network: a `pc3d.models.api.StagedModel`; it is not kept.
        num_classes: classes to score.

    Raises:
        ValueError: a network that does not name its stages, or has only one.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.stages = tuple(earlier_stages(network))
        widths = earlier_stages(network).values()
        self.heads = nn.ModuleList(nn.Linear(width, num_classes) for width in widths)

    def listen(self, network: nn.Module) -> AbstractContextManager[dict[str, Any]]:
        """Collects what the stages give while the network runs within the `with` block."""
        return observe_named(network, self.stages)

    def forward(
        self, seen: Mapping[str, Any], coords: CoordSet, segment: Tensor, loss: nn.Module
    ) -> dict[str, Tensor]:
        """The loss of every stage, by `aux_<stride>`.

        Args:
            seen: what `listen` collected.
            coords: the N voxels of the batch.
            segment: [N] int64 classes or `IGNORE_INDEX`.
            loss: from (logits [M, C], target [M]) to a scalar.

        Raises:
            ValueError: a stage that gave no `SparseTensor` on a set below `coords`.
        """
        losses = {}
        for name, head in zip(self.stages, self.heads, strict=True):
            x = seen.get(name)
            if not isinstance(x, SparseTensor):
                raise ValueError(
                    f"stage {name} of the network must give a SparseTensor in every pass; got "
                    f"{type(x).__name__}. Mend the network's decoder_stages, or set "
                    "task.aux_weight=0."
                )
            rows = rows_within(coords, x.coords)
            logits = head(x.feats)
            target = majority_within(segment, rows, *logits.shape)
            losses[f"aux_{x.coords.stride}"] = loss(logits, target)
        return losses


def earlier_stages(network: nn.Module) -> dict[str, int]:
    """Channels of all decoder stages but the last, by the name of their module."""
    stages = getattr(network, "decoder_stages", None)
    if stages is None:
        raise ValueError(
            f"task.aux_weight needs a network that names the stages of its decoder; "
            f"{type(network).__name__} has no decoder_stages (see pc3d.models.api.StagedModel). "
            "Set task.aux_weight=0 for it."
        )
    if len(stages) < 2:
        raise ValueError(
            "task.aux_weight needs two decoder stages or more, the last of which has the network's "
            f"own head; {type(network).__name__} has {len(stages)}. Set task.aux_weight=0."
        )
    return dict(list(stages.items())[:-1])


def rows_within(coords: CoordSet, coarse: CoordSet) -> Tensor:
    """[N] int64, the row in `coarse` of the voxel that each of the N voxels of `coords` lies in.

    Raises:
        ValueError: `coarse` is not what `down()` of `coords`, any number of times, gives.
    """
    rows = torch.arange(len(coords), device=coords.device)
    level = coords
    while level is not coarse and level.stride < coarse.stride:
        level, kernel_map = level.down()
        rows = kernel_map.parents.long()[rows]
    if level is not coarse:
        raise ValueError(
            f"a decoder stage stands on {coarse}, which is not {coords} made coarser by down()"
        )
    return rows


def majority_within(segment: Tensor, rows: Tensor, num_voxels: int, num_classes: int) -> Tensor:
    """[M] int64, the majority of the labels within each of M voxels, or `IGNORE_INDEX` for none.

    Of classes with as many labels the smallest is taken. Nothing waits for a GPU, and integers make
    the order of the sum immaterial.

    Args:
        segment: [N] int64 classes, or `IGNORE_INDEX`.
        rows: [N] int64, in which of the M voxels each lies.
        num_voxels: M.
        num_classes: C. The counts take M * C * 4 bytes.
    """
    labelled = segment != IGNORE_INDEX
    cells = rows * num_classes + segment.where(labelled, 0)
    counts = torch.zeros(num_voxels * num_classes, dtype=torch.int32, device=segment.device)
    counts = counts.scatter_add_(0, cells, labelled.int()).view(num_voxels, num_classes)
    return counts.argmax(dim=1).where(counts.any(dim=1), IGNORE_INDEX)
