"""MinkUNet: the sparse residual U-Net of Choy et al. 2019 (arXiv 1904.08755)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import nn

from pc3d.models.api import SegmentationOutput
from pc3d.models.spvcnn import run_backbone
from pc3d.models.unet import HEAD_AXES, STEM_AXES, UNet, conv_stem, decoder_stages
from pc3d.sparse import Batch


class MinkUNet(nn.Module):
    """A sparse residual U-Net with one linear head; `conf/model/minkunet*.yaml` are its sizes.

    Args:
        in_channels: channels of the voxel features.
        num_classes: classes to score.
        widths: 8 stage widths, encoder then decoder.
        depths: 8 block counts.
        stem_channels: width of the stem.
        stem_depth: convolutions in the stem: 1 (Choy et al.) or 2 (SPVNAS).
        stem_kernel_size: 3 or 5.
        expand_down: down convolutions widen (CodedVTR) instead of the first block (Choy et al.).
        point_branch: makes a branch of points beside the U-Net, `PointBranch` for SPVCNN.
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
        stem_channels: int = 32,
        stem_depth: int = 1,
        stem_kernel_size: int = 3,
        expand_down: bool = False,
        point_branch: Callable[[UNet], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        stem = conv_stem(in_channels, stem_channels, stem_kernel_size, stem_depth)
        self.backbone = UNet(stem, stem_channels, widths, depths, expand_down=expand_down)
        self.point_branch = None if point_branch is None else point_branch(self.backbone)
        self.head = nn.Linear(self.backbone.out_channels, num_classes)

    @property
    def decoder_stages(self) -> Mapping[str, int]:
        """See `pc3d.models.api.StagedModel`."""
        return decoder_stages(self.backbone)

    def forward(self, batch: Batch) -> SegmentationOutput:
        """Logits [N, num_classes] at the voxels of the batch."""
        x = run_backbone(self.backbone, self.point_branch, batch.voxels)
        return SegmentationOutput(self.head(x.feats))
