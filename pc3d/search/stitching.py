"""Stitching: networks that begin as one trained network and go on as another.

SN-Net (Pan et al. 2023, arXiv 2302.06586) joins two trained networks by a linear layer. Here all
that reads features at the border of a stage begins with a linear layer itself: the down and up
convolutions, and the first block of a decoder stage, which is given a skip. A stitching layer
without bias is therefore merged into it, tap by tap:

    W'[k] = M W[k],   x_B ~ x_A M,

and a stitched network is an ordinary U-Net of mixed widths, which costs nothing for its seams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pc3d.models.modes import evaluating
from pc3d.models.unet import HEAD_AXES, STEM_AXES
from pc3d.search.arch import ArchSpec
from pc3d.search.shared import SharedNetworks
from pc3d.search.stitch_space import StitchSpace
from pc3d.sparse import Batch, SparseTensor

_RIDGE = 1e-6
"""Of a fit, relative to the mean square of a channel: one that is always 0 has no inverse."""


class Inlet(NamedTuple):
    """Where a tensor has an entry per channel of features that come over a border.

    Attributes:
        place: the border: 0 behind the stem, i behind the i-th stage.
        axis: of the tensor.
        start: of those entries along it.
    """

    place: int
    axis: int
    start: int


class StitchableUNet(SharedNetworks):
    """All networks whose stages are those of trained ones, joined by linear maps.

    The weights are those of the trained networks, and for every border and pair of them a matrix
    that takes features of the one to features of the other (`fit_stitches`).

    Args:
        in_channels: channels of the voxel features.
        num_classes: classes to score.
        anchors: see `StitchSpace`.

    Attributes:
        anchors: the trained networks by name.
        stitches: for every border the matrices [C_A, C_B], named by `seam`.

    Raises:
        ValueError: see `StitchSpace`; a block that does not say which of its axes are inputs, or
            that would have no layer to merge a stitch into.
    """

    def __init__(
        self, *, in_channels: int, num_classes: int, anchors: Mapping[str, Mapping[str, Any]]
    ) -> None:
        space = StitchSpace(anchors)
        super().__init__(space, in_channels, num_classes)
        self.space: StitchSpace = space
        self.anchors = nn.ModuleDict(
            {name: space.build(space.only(name), in_channels, num_classes) for name in space.names}
        )
        self._inlets = {name: self._inlets_of(name) for name in space.names}
        self.stitches = nn.ModuleList(
            nn.ParameterDict(
                {
                    seam(a, b): torch.eye(self.channels(a, place), self.channels(b, place))
                    for a, b in permutations(space.names, 2)
                }
            )
            for place in range(len(space.stages))
        )
        self.channel_axes = self._named(STEM_AXES)
        self.class_axes = self._named(HEAD_AXES)

    def channels(self, name: str, place: int) -> int:
        """Channels of a trained network at a border."""
        backbone: Any = self.anchors[name].get_submodule("backbone")
        return int(backbone.widths[place])

    def state_of(self, arch: ArchSpec | None) -> dict[str, Tensor]:
        """See `SharedNetworks`."""
        arch = arch or self.largest
        self.space.check(arch)
        owners = [stage.block for stage in arch.stages]
        found = {}
        for owner in dict.fromkeys(owners):
            for name, tensor in self.anchors[owner].state_dict(keep_vars=True).items():
                if owners[self._stage_of(name)] == owner:
                    is_kept = isinstance(tensor, nn.Parameter) or arch == self.largest
                    part = self._stitched(name, tensor, owner, owners)
                    found[name] = part if is_kept else part.clone()
        return found

    def _stitched(self, name: str, tensor: Tensor, owner: str, owners: Sequence[str]) -> Tensor:
        """A tensor that reads what other networks' stages give."""
        inlet = self._inlets[owner].get(name)
        if inlet is None:
            return tensor
        source = owners[max(0, inlet.place - 1)]
        if source == owner:
            return tensor
        before, own = tensor.split(
            [inlet.start, tensor.shape[inlet.axis] - inlet.start], inlet.axis
        )
        seam_matrix: Any = self.stitches[inlet.place]
        merged = torch.tensordot(seam_matrix[seam(source, owner)], own, dims=([1], [inlet.axis]))
        merged = merged.movedim(0, inlet.axis)
        return torch.cat([before, merged], inlet.axis).contiguous()

    def _stage_of(self, name: str) -> int:
        """The stage that a tensor of a network belongs to: the stem to the first, and so on."""
        half = len(self.space.stages) // 2
        root, _, rest = name.partition(".")
        part, _, rest = rest.partition(".")
        if root == "backbone" and part != "stem":
            number = int(rest.partition(".")[0])
            return number if part in ("down", "encoder") else half + number
        return 0 if root == "backbone" else 2 * half - 1

    def _inlets_of(self, name: str) -> dict[str, Inlet]:
        """All tensors of a trained network that read over a border."""
        half, found = len(self.space.stages) // 2, {}
        for i in range(half):
            found[f"backbone.down.{i}.conv.weight"] = Inlet(i, axis=1, start=0)
            found[f"backbone.up.{i}.conv.weight"] = Inlet(half + i, axis=1, start=0)
            spec, place = self.space.only(name).stages[half + i], half - 1 - i
            block: Any = self.anchors[name].get_submodule(f"backbone.decoder.{i}.0")
            kind = f"{name}, stage {half + i}: {type(block).__name__}"
            if not hasattr(block, "input_axes"):
                raise ValueError(
                    f"{kind} does not say which axes of its weights are those of the input"
                )
            skips = {self.channels(other, place) for other in self.space.names}
            if spec.width - spec.transition in skips:
                raise ValueError(
                    f"{kind} would be given {spec.width} channels and gives as many, so that it "
                    "has no layer which a stitch could be merged into"
                )
            for own, axis in block.input_axes.items():
                found[f"backbone.decoder.{i}.0.{own}"] = Inlet(place, axis, spec.transition)
        return found

    def _named(self, axes: Mapping[str, int]) -> dict[str, int]:
        """Axes of the trained networks' tensors; see `TransferableModel`."""
        return {
            f"anchors.{name}.{tensor}": axis
            for name in self.space.names
            for tensor, axis in axes.items()
        }


def seam(source: str, target: str) -> str:
    """The name of what takes features of one network to features of another."""
    return f"{source}_to_{target}"


@torch.no_grad()
def fit_stitches(network: StitchableUNet, batches: Iterable[Batch]) -> list[dict[str, float]]:
    """Set all matrices to those that fit best, in place: least squares over all voxels.

        M = argmin sum over voxels n of |x_A[n] M - x_B[n]|^2

    Args:
        network: with trained networks, which run as in evaluation.
        batches: of training data, on its device.

    Returns:
        For every border and matrix, 1 - sum |x_A M - x_B|^2 / sum |x_B|^2.

    Raises:
        ValueError: no batches; the network is as it was.
    """
    pairs = list(permutations(network.space.names, 2))
    borders = range(len(network.space.stages))
    sums = [{pair: _Fit() for pair in pairs} for _ in borders]
    is_empty = True
    for batch in batches:
        is_empty = False
        with evaluating(network):
            seen = {name: _features(net, batch) for name, net in network.anchors.items()}
        for place in borders:
            for a, b in pairs:
                sums[place][a, b].add(seen[a][place], seen[b][place])
    if is_empty:
        raise ValueError("stitching needs at least one batch of training data; got none")
    explained: list[dict[str, float]] = [{} for _ in borders]
    for place in borders:
        matrices: Any = network.stitches[place]
        for pair, fit in sums[place].items():
            matrix = fit.matrix()
            matrices[seam(*pair)].copy_(matrix)
            explained[place][seam(*pair)] = fit.explained(matrix)
    return explained


class _Fit:
    """Sums that a least-squares fit is made of, in double precision."""

    def __init__(self) -> None:
        self.gram: Any = 0
        self.cross: Any = 0
        self.squares: Any = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double(), y.double()
        self.gram = self.gram + x.T @ x
        self.cross = self.cross + x.T @ y
        self.squares = self.squares + y.square().sum()

    def matrix(self) -> Tensor:
        ridge = _RIDGE * self.gram.diagonal().mean().clamp_min(1e-30)
        eye = torch.eye(len(self.gram), dtype=self.gram.dtype, device=self.gram.device)
        solved: Tensor = torch.linalg.solve(self.gram + ridge * eye, self.cross)
        return solved

    def explained(self, matrix: Tensor) -> float:
        left = self.squares + (matrix * (self.gram @ matrix - 2 * self.cross)).sum()
        return float(1 - left / self.squares.clamp_min(1e-30))


def _features(network: nn.Module, batch: Batch) -> list[Tensor]:
    """What a U-Net has at its borders, behind the stem and behind every stage but the last."""
    backbone: Any = network.get_submodule("backbone")
    found: list[Tensor] = []

    def keep(module: nn.Module, given: object, x: SparseTensor) -> None:
        found.append(x.feats)

    modules = [backbone.stem, *backbone.encoder, *backbone.decoder]
    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        network(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found[:-1]
