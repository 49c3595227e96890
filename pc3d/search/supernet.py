"""A supernet: the weights of the largest network, which all smaller ones share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from pc3d.models.unet import HEAD_AXES, STEM_AXES, Stage, blocks_of
from pc3d.search.arch import ArchSpec
from pc3d.search.shared import SharedNetworks
from pc3d.search.sharing import Axes, Part, used
from pc3d.search.space import SearchSpace


class Share(NamedTuple):
    """Where a tensor of a subnet comes from.

    Attributes:
        source: the shared tensor.
        shape: of the part that the subnet has.
        axes: see `used`.
    """

    source: str
    shape: torch.Size
    axes: Axes


class Supernet(SharedNetworks):
    """All networks of a search space over shared weights.

    An architecture has the parts of the shared tensors that belong to it.

    Every kind of block has weights of its own in every stage; down and up convolutions, stem and
    head are shared by all. Batch norms have the running statistics of the largest network, which
    are of no use to others: see `pc3d.search.calibration`.

    Args:
        in_channels: channels of the voxel features.
        num_classes: classes to score.
        network, blocks, genes, divisor: see `SearchSpace`.

    Raises:
        ValueError: see `SearchSpace`; a block that does not say which of its axes are inputs.
    """

    channel_axes: ClassVar[Mapping[str, int]] = {f"trunk.{k}": v for k, v in STEM_AXES.items()}
    class_axes: ClassVar[Mapping[str, int]] = {f"trunk.{k}": v for k, v in HEAD_AXES.items()}

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        network: Mapping[str, Any],
        blocks: Mapping[str, Mapping[str, Any]],
        genes: Mapping[str, Sequence[Any]],
        divisor: int = 16,
    ) -> None:
        space = SearchSpace(network, blocks, genes, divisor)
        super().__init__(space, in_channels, num_classes)
        self.space: SearchSpace = space
        self.trunk = self.space.build(self.largest, in_channels, num_classes)
        backbone: Any = self.trunk.backbone
        self.widths: tuple[int, ...] = backbone.widths
        backbone.encoder, backbone.decoder = nn.ModuleList(), nn.ModuleList()
        self.stages = nn.ModuleList(
            nn.ModuleDict({kind: self._widest(number, kind) for kind in dict.fromkeys(o.block)})
            for number, o in enumerate(self.space.stages)
        )

    def state_of(self, arch: ArchSpec | None) -> dict[str, Tensor]:
        """See `SharedNetworks`."""
        arch = arch or self.largest
        shared = dict(self.named_parameters()) | dict(self.named_buffers())
        found = {}
        for name, share in self._shares(arch).items():
            source = shared[share.source]
            part = used(source, share.shape, share.axes)
            is_buffer = not isinstance(source, nn.Parameter)
            found[name] = part.clone() if is_buffer and arch != self.largest else part
        return found

    def _shares(self, arch: ArchSpec) -> dict[str, Share]:
        """Where every tensor of an architecture's network comes from."""
        found = {}
        for name, tensor in self._skeleton(arch).state_dict(keep_vars=True).items():
            number, inner = self._stage_of(name)
            if number is None:
                found[name] = Share(f"trunk.{name}", tensor.shape, {})
                continue
            kind = arch.stages[number].block
            block, _, own = inner.partition(".")
            first: Any = self.get_submodule(f"stages.{number}.{kind}.0")
            axes: dict[int, tuple[Part, ...]] = {}
            if block == "0" and own in first.input_axes:
                axes[first.input_axes[own]] = self._inputs(number, arch)
            if own in first.stacked_axes:
                axis, times = first.stacked_axes[own]
                full = self.get_parameter(f"stages.{number}.{kind}.{inner}").shape[axis]
                axes[axis] = (Part(tensor.shape[axis] // times, full // times),) * times
            found[name] = Share(f"stages.{number}.{kind}.{inner}", tensor.shape, axes)
        return found

    def _stage_of(self, name: str) -> tuple[int | None, str]:
        """The stage that a tensor of a subnet lies in, and its name there."""
        for first, part in ((0, "backbone.encoder."), (len(self.stages) // 2, "backbone.decoder.")):
            if name.startswith(part):
                number, _, inner = name.removeprefix(part).partition(".")
                return first + int(number), inner
        return None, name

    def _inputs(self, number: int, arch: ArchSpec) -> tuple[Part, ...]:
        """What the first block of a stage is given: the transition, and in the decoder a skip."""
        parts = (Part(arch.stages[number].transition, self.largest.stages[number].transition),)
        level = self._skip_level(number)
        if level is None:
            return parts
        skip = arch.stages[level - 1].width if level else self.widths[0]
        return (*parts, Part(skip, self.widths[level]))

    def _skip_level(self, number: int) -> int | None:
        """Where the skip of a decoder stage comes from: 0 the stem, i the i-th encoder stage."""
        num_stages = len(self.largest.stages)
        return None if number < num_stages // 2 else num_stages - 1 - number

    def _widest(self, number: int, kind: str) -> nn.Sequential:
        """The blocks that all of a kind share in a stage."""
        spec = self.space.extreme(number, kind, max)
        in_channels = sum(part.full for part in self._inputs(number, self.largest))
        # Where the widths are equal there is no shortcut to be shared, but smaller ones have one.
        spare = int(in_channels == spec.width and self._has_shortcuts(number))
        made: Any = blocks_of(
            Stage(spec.width, spec.depth, spec.transition, self.space.block(spec)),
            in_channels + spare,
        )
        if not hasattr(made[0], "input_axes"):
            raise ValueError(
                f"blocks.{kind}: {type(made[0]).__name__} does not say which axes of its weights "
                "are those of the input (input_axes, stacked_axes), so its weights cannot be shared"
            )
        for name, axis in made[0].input_axes.items():
            owner, _, own = name.rpartition(".")
            if spare:
                module = made[0].get_submodule(owner)
                part = getattr(module, own).detach().narrow(axis, 0, in_channels)
                setattr(module, own, nn.Parameter(part.clone()))
        return made

    def _has_shortcuts(self, number: int) -> bool:
        """Whether the first block of a stage changes the width in any architecture."""
        level = self._skip_level(number)
        if level is None:
            skips: tuple[int, ...] = (0,)
        else:
            skips = self.space.stages[level - 1].width if level else (self.widths[0],)
        return any(
            transition + skip != width
            for width in self.space.stages[number].width
            for transition in self.space.transitions(number, width)
            for skip in skips
        )
