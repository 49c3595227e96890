"""Many networks over shared weights: any of them can be run, and taken out as an ordinary one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from pc3d.models.api import SegmentationOutput
from pc3d.search.arch import ArchSpec
from pc3d.search.space import Space
from pc3d.sparse import Batch

_CACHED = 64
"""Networks without weights that are kept."""


class SharedNetworks(nn.Module, ABC):
    """All networks of a search space over shared weights.

    An architecture is run as the very network that `extract` gives, called with tensors made of the
    shared ones. There are no other modules for it: what is trained here and what is extracted
    cannot differ.

    Args:
        space: of the architectures.
        in_channels: channels of the voxel features.
        num_classes: classes to score.
    """

    def __init__(self, space: Space, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.space, self.in_channels, self.num_classes = space, in_channels, num_classes
        self.largest = space.largest

    @abstractmethod
    def state_of(self, arch: ArchSpec | None) -> dict[str, Tensor]:
        """The tensors of an architecture's network by name (None: the largest).

        They are made of the shared ones, which gradients reach. Buffers are copies, so that a pass
        in training leaves the shared ones as they are, but for those of the largest network, whose
        running statistics are kept.
        """

    def forward(self, batch: Batch, arch: ArchSpec | None = None) -> SegmentationOutput:
        """What the network of an architecture says of a batch; the largest if None.

        Raises:
            ValueError: an architecture that is not of the search space.
        """
        network = self._skeleton(arch or self.largest).train(self.training)
        output: SegmentationOutput = functional_call(network, self.state_of(arch), (batch,))
        return output

    def extract(self, arch: ArchSpec | None = None) -> nn.Module:
        """The ordinary network of an architecture (None: the largest), with weights of its own.

        Raises:
            ValueError: an architecture that is not of the search space.
        """
        self.space.check(arch or self.largest)
        network = self.space.build(arch or self.largest, self.in_channels, self.num_classes)
        network.load_state_dict(self.state_of(arch))
        return network.to(self.device).train(self.training)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def _skeleton(self, arch: ArchSpec) -> nn.Module:
        self.space.check(arch)
        synced = any(isinstance(module, nn.SyncBatchNorm) for module in self.modules())
        sizes = (self.in_channels, self.num_classes)
        return _without_weights(self.space, arch, sizes, self.device, synced)


@lru_cache(maxsize=_CACHED)
def _without_weights(
    space: Space,
    arch: ArchSpec,
    sizes: tuple[int, int],
    device: torch.device,
    is_synced: bool,
) -> nn.Module:
    """The network of an architecture, whose tensors are to be given with every call.

    What is no part of its state, such as tables of taps, is there.
    """
    with _NoInit():
        network = space.build(arch, *sizes)
    state = network.state_dict()
    for module_name, module in network.named_modules():
        prefix = f"{module_name}." if module_name else ""
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.to("meta")))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to("meta" if prefix + name in state else device))
    return nn.SyncBatchNorm.convert_sync_batchnorm(network) if is_synced else network


class _NoInit(TorchFunctionMode):
    """Within the block, `torch.nn.init` leaves tensors as they are: they are replaced anyway."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))
