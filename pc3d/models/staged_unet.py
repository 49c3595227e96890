"""A segmentation network around the sparse U-Net; MinkUNet and the voxel transformer are of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from pc3d.models.api import SegmentationOutput
from pc3d.models.auxiliary import check_weights, listen
from pc3d.models.spvcnn import run_backbone
from pc3d.models.unet import HEAD_AXES, STEM_AXES, Stage, UNet, conv_stem, decoder_stages
from pc3d.sparse import Batch

REGULARIZERS = ("usage", "balance", "diversity", "orthogonality")


class StagedUNet(nn.Module):
    """A sparse U-Net with one linear head, whose stages are given one by one.

    Args:
        in_channels: channels of the voxel features.
        num_classes: classes to score.
        stages: keyword arguments of a `Stage` for every stage, encoder then decoder.
        stem_channels: width of the stem.
        stem_depth: convolutions in the stem: 1 (Choy et al.) or 2 (SPVNAS).
        stem_kernel_size: 3 or 5.
        regularizers: weights of the auxiliary losses by name: `usage` and `balance` of the choices
            (`pc3d.nn.choice`), `diversity` and `orthogonality` of the codes (`pc3d.nn.Codebook`).
            Each is the mean over all blocks. 0, or no entry, leaves it out. The commitment losses
            of blocks that quantise come with the output too, as these weigh them.
        point_branch: makes a branch of points beside the U-Net, `PointBranch` for SPVCNN.

    Raises:
        ValueError: see `UNet`; a regularizer that does not exist.
    """

    channel_axes: ClassVar[Mapping[str, int]] = STEM_AXES
    class_axes: ClassVar[Mapping[str, int]] = HEAD_AXES

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        stages: Sequence[Mapping[str, Any]],
        stem_channels: int = 32,
        stem_depth: int = 1,
        stem_kernel_size: int = 3,
        regularizers: Mapping[str, float] | None = None,
        point_branch: Callable[[UNet], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.regularizers = check_weights(regularizers, REGULARIZERS)
        stem = conv_stem(in_channels, stem_channels, stem_kernel_size, stem_depth)
        self.backbone = UNet(stem, stem_channels, [Stage(**stage) for stage in stages])
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


def check_lengths(**per_stage: Sequence[Any]) -> None:
    """ValueError unless all of these have one entry per stage, which is an even number."""
    lengths = {len(values) for values in per_stage.values()}
    if len(lengths) != 1 or lengths.pop() % 2:
        given = ", ".join(f"{len(values)} {name}" for name, values in per_stage.items())
        raise ValueError(f"expected one entry per stage, encoder then decoder; got {given}")
