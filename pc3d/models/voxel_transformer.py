"""A U-Net whose inner stages are voxel transformer blocks (CodedVTR and its family)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.models.unet import (
    HEAD_AXES,
    STEM_AXES,
    BlockFactory,
    UNet,
    conv_stem,
    decoder_stages,
)
from pc3d.nn import BasicBlock, Codebook, VectorQuantizer
from pc3d.nn.choice import balance_loss, observe_choices, usage_loss
from pc3d.nn.observe import observe
from pc3d.sparse import Batch

REGULARIZERS = ("usage", "balance", "diversity", "orthogonality")


class VoxelTransformer(nn.Module):
    """The U-Net of CodedVTR (Zhao et al. 2022): down convolutions widen, inner stages attend.

    Args:
        in_channels: channels of the voxel features.
        num_classes: classes to score.
        widths: 8 stage widths, encoder then decoder.
        depths: 8 block counts.
        block: makes a block of the stages that attend, `block(in_channels, out_channels)`.
        attention_stages: which of the stages those are; the others have basic residual blocks.
        stem_channels: width of the stem.
        stem_kernel_size: 3 or 5.
        regularizers: weights of the auxiliary losses by name: `usage` and `balance` of the choices
            (`pc3d.nn.choice`), `diversity` and `orthogonality` of the codes (`pc3d.nn.Codebook`).
            Each is the mean over all blocks. 0, or no entry, leaves it out. The commitment losses
            of blocks that quantise come with the output too, as these weigh them.

    Raises:
        ValueError: a stage or regularizer that does not exist.
    """

    channel_axes: ClassVar[Mapping[str, int]] = STEM_AXES
    class_axes: ClassVar[Mapping[str, int]] = HEAD_AXES

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int],
        depths: Sequence[int],
        block: BlockFactory,
        attention_stages: Sequence[int],
        stem_channels: int = 32,
        stem_kernel_size: int = 3,
        regularizers: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        unknown = set(attention_stages) - set(range(len(widths)))
        if unknown:
            raise ValueError(
                f"attention_stages must be of 0 to {len(widths) - 1}; got {sorted(unknown)}"
            )
        weights = {name: weight for name, weight in (regularizers or {}).items() if weight}
        if set(weights) - set(REGULARIZERS):
            raise ValueError(
                f"regularizers must be of {', '.join(REGULARIZERS)}; got {', '.join(weights)}"
            )
        self.regularizers = weights
        blocks = [block if i in attention_stages else BasicBlock for i in range(len(widths))]
        stem = conv_stem(in_channels, stem_channels, stem_kernel_size)
        self.backbone = UNet(stem, stem_channels, widths, depths, blocks, expand_down=True)
        self.head = nn.Linear(self.backbone.out_channels, num_classes)

    @property
    def decoder_stages(self) -> Mapping[str, int]:
        """See `pc3d.models.api.StagedModel`."""
        return decoder_stages(self.backbone)

    def forward(self, batch: Batch) -> SegmentationOutput:
        """Logits [N, num_classes] at the voxels of the batch; auxiliary losses in training."""
        if not self.training:
            return SegmentationOutput(self.head(self.backbone(batch.voxels).feats))
        with observe_choices(self) as choices, observe(self, VectorQuantizer) as quantized:
            logits = self.head(self.backbone(batch.voxels).feats)
        losses = self._aux_losses(list(choices.values()))
        if quantized:
            losses["commitment"] = mean([loss for _, _, loss in quantized.values()])
        return SegmentationOutput(logits, aux_losses=losses)

    def _aux_losses(self, choices: Sequence[Tensor]) -> dict[str, Tensor]:
        books = [m for m in self.modules() if isinstance(m, Codebook) and len(m) > 1]
        losses = {
            "usage": lambda: [usage_loss(choice) for choice in choices],
            "balance": lambda: [balance_loss(choice) for choice in choices],
            "diversity": lambda: [book.diversity_loss() for book in books],
            "orthogonality": lambda: [book.orthogonality_loss() for book in books],
        }
        found = {name: (weight, losses[name]()) for name, weight in self.regularizers.items()}
        return {name: weight * mean(values) for name, (weight, values) in found.items() if values}


def mean(losses: Sequence[Tensor]) -> Tensor:
    """The mean of scalars."""
    return torch.stack(list(losses)).mean()
