"""What every network takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor, nn

from pc3d.sparse import Batch


@dataclass(frozen=True)
class SegmentationOutput:
    """Scores of a batch.

    Attributes:
        logits: [N, num_classes] per voxel or [P, num_classes] per point.
        support: where the logits stand: `"voxel"` (rows of `batch.voxels`) or `"point"` (rows of
            `batch.points`).
        aux_losses: further scalar losses by name, added to the task's loss as they are.
    """

    logits: Tensor
    support: Literal["voxel", "point"] = "voxel"
    aux_losses: dict[str, Tensor] = field(default_factory=dict)

    def at_points(self, batch: Batch) -> Tensor:
        """[P, num_classes], the scores of every point in input order."""
        return self.logits[batch.point2voxel] if self.support == "voxel" else self.logits


class SegmentationModel(Protocol):
    """A network: keyword-only constructor with typed parameters, and this call."""

    def __call__(self, batch: Batch) -> SegmentationOutput: ...


class StagedModel(SegmentationModel, Protocol):
    """A network whose decoder can be supervised stage by stage; see `pc3d.tasks.auxiliary`.

    Attributes:
        decoder_stages: channels that every stage of the decoder gives, by the name of its module
            within the network, in the order in which they run. Each module runs once in a pass and
            gives a `SparseTensor` on the batch's voxels or on a set that `down()` made of them; on
            what the last one gives stands the network's own head.
    """

    @property
    def decoder_stages(self) -> Mapping[str, int]: ...


class TransferableModel(SegmentationModel, Protocol):
    """A network that says which of its tensors depend on the data; see `pc3d.models.transfer`.

    Attributes:
        channel_axes: every tensor of its state that has an entry per input channel, by its name in
            the state, and which axis that is.
        class_axes: the same for classes.
    """

    @property
    def channel_axes(self) -> Mapping[str, int]: ...

    @property
    def class_axes(self) -> Mapping[str, int]: ...


def ordinary(network: nn.Module) -> nn.Module:
    """The network itself; of a supernet (`pc3d.search`), its largest network: one to look into."""
    extract: Callable[[], nn.Module] | None = getattr(network, "extract", None)
    return network if extract is None else extract()
