"""MinkUNet: the sparse residual U-Net of Choy et al. 2019 (arXiv 1904.08755)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pc3d.models.staged_unet import StagedUNet, check_lengths
from pc3d.models.unet import UNet


class MinkUNet(StagedUNet):
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

    Raises:
        ValueError: another number of widths than of depths, or an odd one.
    """

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
        check_lengths(widths=widths, depths=depths)
        super().__init__(
            in_channels=in_channels,
            num_classes=num_classes,
            stages=self.stages_of(widths, depths, stem_channels, expand_down),
            stem_channels=stem_channels,
            stem_depth=stem_depth,
            stem_kernel_size=stem_kernel_size,
            point_branch=point_branch,
        )

    @staticmethod
    def stages_of(
        widths: Sequence[int], depths: Sequence[int], stem_channels: int, expand_down: bool
    ) -> list[dict[str, int]]:
        """The stages of `StagedUNet`, whose blocks are basic ones."""
        middle = len(widths) // 2
        down = widths if expand_down else (stem_channels, *widths)
        transitions = [*down[:middle], *widths[middle:]]
        return [
            {"width": width, "depth": depth, "transition": transition}
            for width, depth, transition in zip(widths, depths, transitions, strict=True)
        ]
