"""A U-Net whose inner stages are voxel transformer blocks (CodedVTR and its family)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.models.auxiliary import check_weights, listen
from pc3d.models.spvcnn import run_backbone
from pc3d.models.unet import (
    HEAD_AXES,
    STEM_AXES,
    BlockFactory,
    UNet,
    conv_stem,
    decoder_stages,
)
from pc3d.nn import BasicBlock
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
        point_branch: makes a branch of points beside the U-Net, such as `PointBranch`.

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
        point_branch: Callable[[UNet], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        unknown = set(attention_stages) - set(range(len(widths)))
        if unknown:
            raise ValueError(
                f"attention_stages must be of 0 to {len(widths) - 1}; got {sorted(unknown)}"
            )
        self.regularizers = check_weights(regularizers, REGULARIZERS)
        blocks = [block if i in attention_stages else BasicBlock for i in range(len(widths))]
        stem = conv_stem(in_channels, stem_channels, stem_kernel_size)
        self.backbone = UNet(stem, stem_channels, widths, depths, blocks, expand_down=True)
        self.point_branch = None if point_branch is None else point_branch(self.backbone)
        self.head = nn.Linear(self.backbone.out_channels, num_classes)

    @property
    def decoder_stages(self) -> Mapping[str, int]:
        """See `pc3d.models.api.StagedModel`."""
        return decoder_stages(self.backbone)

    def forward(self, batch: Batch) -> SegmentationOutput:
        """Logits [N, num_classes] at the voxels of the batch; auxiliary losses in training."""
        if not self.training:
            return SegmentationOutput(self._logits(batch))
        with listen(self, self.regularizers) as losses:
            logits = self._logits(batch)
        return SegmentationOutput(logits, aux_losses=losses)

    def _logits(self, batch: Batch) -> Tensor:
        x = run_backbone(self.backbone, self.point_branch, batch.voxels)
        logits: Tensor = self.head(x.feats)
        return logits
