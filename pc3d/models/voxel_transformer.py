"""A U-Net whose inner stages are voxel transformer blocks (CodedVTR and its family)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from pc3d.models.staged_unet import StagedUNet, check_lengths
from pc3d.models.unet import BlockFactory, UNet
from pc3d.nn import BasicBlock


class VoxelTransformer(StagedUNet):
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
        regularizers: see `StagedUNet`.
        point_branch: makes a branch of points beside the U-Net, such as `PointBranch`.

    Raises:
        ValueError: another number of widths than of depths, or an odd one; a stage or regularizer
            that does not exist.
    """

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
        check_lengths(widths=widths, depths=depths)
        unknown = set(attention_stages) - set(range(len(widths)))
        if unknown:
            raise ValueError(
                f"attention_stages must be of 0 to {len(widths) - 1}; got {sorted(unknown)}"
            )
        super().__init__(
            in_channels=in_channels,
            num_classes=num_classes,
            stages=self.stages_of(widths, depths, block, attention_stages, BasicBlock),
            stem_channels=stem_channels,
            stem_kernel_size=stem_kernel_size,
            regularizers=regularizers,
            point_branch=point_branch,
        )

    @staticmethod
    def stages_of(
        widths: Sequence[int],
        depths: Sequence[int],
        block: Any,
        attention_stages: Sequence[int],
        basic: Any,
    ) -> list[dict[str, Any]]:
        """The stages of `StagedUNet`; `block` and `basic` may be factories or configurations."""
        return [
            {
                "width": width,
                "depth": depth,
                "transition": width,
                "block": block if i in attention_stages else basic,
            }
            for i, (width, depth) in enumerate(zip(widths, depths, strict=True))
        ]
