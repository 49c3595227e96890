"""A codebook: D codes, each a depthwise kernel over its own neighbourhood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from pc3d.nn.splitting import Rows
from pc3d.sparse import CoordSet, KernelSpec


@dataclass(frozen=True)
class CodeSpec:
    """The neighbourhood of one code.

    Args:
        size: taps per axis, 1, 3 or 5.
        dilation: distance between taps in voxels.
        shape: `"cube"`, `"cross"`, or `"mask"`: a cube of which each group sees the taps of a mask.
        masks: for `"mask"`: strings of 0 and 1, one digit per tap of the cube (x slowest, z
            fastest). Group g takes `masks[g % len(masks)]`. `data_prep.patterns` learns them.
        stride: 1, or 2 for taps among the voxels of twice the size, around the one that a voxel
            lies in; `dilation` counts these then. See `pc3d.nn.coarse_codes`.

    Raises:
        ValueError: a kernel or a stride that does not exist, or a mask of another length or without
            taps.
    """

    size: int = 3
    dilation: int = 1
    shape: Literal["cube", "cross", "mask"] = "cube"
    masks: Sequence[str] = ()
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride not in (1, 2):
            raise ValueError(
                "a code has stride 1 (a voxel's neighbours) or 2 (those of twice the size); got "
                f"stride={self.stride}"
            )
        object.__setattr__(self, "masks", tuple(self.masks))  # lists do not hash
        num_taps = self.kernel.num_taps
        if (self.shape == "mask") != bool(self.masks):
            raise ValueError(
                "a code of shape 'mask' needs masks, and no other shape takes any; got "
                f"shape={self.shape!r} with {len(self.masks)} masks"
            )
        for mask in self.masks:
            if len(mask) != num_taps or set(mask) - set("01"):
                raise ValueError(
                    f"a mask needs {num_taps} digits 0 or 1, one per tap; got {mask!r}"
                )
            if "1" not in mask:
                raise ValueError("a mask without taps empties its code; keep at least one tap")

    @property
    def kernel(self) -> KernelSpec:
        """The kernel whose table holds the neighbours."""
        shape: Literal["cube", "cross"] = "cross" if self.shape == "cross" else "cube"
        return KernelSpec(self.size, dilation=self.dilation, shape=shape)

    def table(self, coords: CoordSet) -> Tensor:
        """The neighbours [K, N] of N voxels; with stride 2 those [K, M] of their M parents."""
        if self.stride == 2:
            coords, _ = coords.down()
        return coords.neighbors(self.kernel).table

    def mask(self, groups: int) -> Tensor:
        """[K, groups] float32: 1 where a group sees a tap."""
        if not self.masks:
            return torch.ones(self.kernel.num_taps, groups)
        rows = [[float(digit) for digit in mask] for mask in self.masks]
        return torch.tensor(rows).T[:, torch.arange(groups) % len(rows)]


def check_groups(channels: int, groups: int) -> None:
    """ValueError unless the groups divide the channels."""
    if groups < 1 or channels % groups:
        raise ValueError(
            f"groups must divide the channels; got {groups} groups for {channels} channels. "
            "Change groups, expansion or the stage's width."
        )


class Codebook(nn.Module):
    """D depthwise kernels over C channels in G groups.

    Weights are drawn from U(-s, s) with s = 1 / sqrt(K), the fan-in of a depthwise kernel: the
    choices made with them are then far enough apart to learn from. (MinkowskiEngine's channelwise
    convolution divides by sqrt(C) once more, which leaves every choice uniform.) Masks are buffers
    and multiply the weights in every pass, so that training cannot undo them.

    Attributes:
        share: [D], the part that a code has of the first code that it descends from by splitting: 1
            as long as nothing was split, 0 for a code that is yet to come. None with one code.

    Args:
        channels: C.
        groups: G groups of C / G consecutive channels that share a choice.
        specs: the codes' neighbourhoods.
        from_offsets: generate the weights from the taps' relative offsets by a small network (3 ->
            `from_offsets` -> C per code) instead of learning them directly; 0 for no.

    Raises:
        ValueError: no codes, or groups that do not divide the channels.
    """

    def __init__(
        self, channels: int, groups: int, specs: Sequence[CodeSpec], from_offsets: int = 0
    ) -> None:
        super().__init__()
        if not specs:
            raise ValueError("a codebook needs at least one code; got none")
        check_groups(channels, groups)
        self.channels, self.groups, self.specs = channels, groups, tuple(specs)
        self.num_taps = [spec.kernel.num_taps for spec in specs]
        self.generator: OffsetNetwork | None = None
        if from_offsets:
            self.generator = OffsetNetwork([s.kernel for s in specs], from_offsets, channels)
        else:
            self.weight = nn.Parameter(torch.empty(sum(self.num_taps), channels))
        masked = any(spec.masks for spec in specs)
        mask = torch.cat([spec.mask(groups) for spec in specs]) if masked else None
        self.register_buffer("mask", mask)
        self.mask: Tensor | None
        self.register_buffer("share", torch.ones(len(specs)) if len(specs) > 1 else None)
        self.share: Tensor | None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.generator is None:
            with torch.no_grad():
                for code, taps in zip(self.weight.split(self.num_taps), self.num_taps, strict=True):
                    code.uniform_(-1 / math.sqrt(taps), 1 / math.sqrt(taps))

    def __len__(self) -> int:
        return len(self.specs)

    def rows_of(self, code: int) -> list[Rows]:
        """The rows of this module's parameters that belong to one code."""
        if self.generator is not None:
            return [Rows(f"generator.{name}", rows) for name, rows in self.generator.rows_of(code)]
        start = sum(self.num_taps[:code])
        return [Rows("weight", slice(start, start + self.num_taps[code]))]

    def codes(self) -> Tensor:
        """[taps of all codes, C], masks applied."""
        weight: Tensor = self.weight if self.generator is None else self.generator()
        if self.mask is None:
            return weight
        return weight * self.mask.repeat_interleave(self.channels // self.groups, dim=1)

    def tables(self, coords: CoordSet) -> list[Tensor]:
        """The neighbour table of every code; see `CodeSpec.table`."""
        return [spec.table(coords) for spec in self.specs]

    def occupancy(self, coords: CoordSet, masked: bool) -> Tensor:
        """[N, D, G]: the fraction of each code's taps, or of those of a group's mask, with a voxel.

        The tap of a voxel itself counts, so that none is 0 unless its mask leaves that tap out. A
        code of stride 2 has the fraction of the voxel's parent.
        """
        found = []
        for number, spec in enumerate(self.specs):
            occupied = (spec.table(coords) >= 0).float()
            if masked and self.mask is not None:
                mask = self.mask.split(self.num_taps)[number]
                share = (occupied.T.to(mask.dtype) @ mask) / mask.sum(dim=0)
            else:
                share = occupied.mean(dim=0).unsqueeze(1).expand(-1, self.groups)
            if spec.stride == 2:
                share = share.index_select(0, coords.down()[1].parents)
            found.append(share)
        return torch.stack(found, dim=1)

    def diversity_loss(self) -> Tensor:
        """How alike the codes' patterns are, in [0, 1]; 1 for equal ones.

        The mean over pairs of codes and over channels of the Bhattacharyya coefficient of their
        softmax over taps. Pairs of codes with as many taps only, and of codes that are there.
        """
        patterns = [code.softmax(dim=0).sqrt() for code in self.codes().split(self.num_taps)]
        return self._mean_of_pairs([(a * b).sum(dim=0).mean() for a, b in self._pairs(patterns)])

    def orthogonality_loss(self) -> Tensor:
        """Squared cosines between codes: the off-diagonal of their Gram matrix, channel by channel.

        No singular values are needed for it. Pairs of codes with as many taps only, and of codes
        that are there.
        """
        unit = [nn.functional.normalize(c, dim=0) for c in self.codes().split(self.num_taps)]
        cosines = [(a * b).sum(dim=0) for a, b in self._pairs(unit)]
        return self._mean_of_pairs([cosine.square().mean() for cosine in cosines])

    def _pairs(self, codes: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(codes[a], codes[b]) for a, b in self._comparable_pairs()]

    def _mean_of_pairs(self, values: Sequence[Tensor]) -> Tensor:
        """The mean over comparable pairs of which both codes are there."""
        assert self.share is not None
        there = [
            ((self.share[a] > 0) & (self.share[b] > 0)).to(values[0])
            for a, b in self._comparable_pairs()
        ]
        weights = torch.stack(there)
        return (torch.stack(list(values)) * weights).sum() / weights.sum().clamp(min=1)

    def _comparable_pairs(self) -> list[tuple[int, int]]:
        pairs = combinations(range(len(self)), 2)
        found = [(a, b) for a, b in pairs if self.num_taps[a] == self.num_taps[b]]
        if not found:
            raise ValueError(
                "no two codes have as many taps, so their patterns cannot be compared; set the "
                f"weights of diversity and orthogonality to 0 (taps: {self.num_taps})"
            )
        return found

    def extra_repr(self) -> str:
        return f"{len(self)} codes, {self.channels} channels, {self.groups} groups"


class OffsetNetwork(nn.Module):
    """Generates the taps of every code from their relative offsets.

    Args:
        kernels: the codes' kernels.
        hidden: width of the hidden layer.
        channels: C.
    """

    def __init__(self, kernels: Sequence[KernelSpec], hidden: int, channels: int) -> None:
        super().__init__()
        for number, kernel in enumerate(kernels):
            reach = max(1, max(abs(c) for offset in kernel.offsets for c in offset))
            offsets = torch.tensor(kernel.offsets, dtype=torch.float32) / reach
            self.register_buffer(f"offsets_{number}", offsets, persistent=False)
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, channels))
            for _ in kernels
        )

    def rows_of(self, code: int) -> list[Rows]:
        """The rows of this module's parameters that belong to one code: all of its network."""
        names = [name for name, _ in self.networks[code].named_parameters()]
        return [Rows(f"networks.{code}.{name}", slice(None)) for name in names]

    def forward(self) -> Tensor:
        """[taps of all codes, C]."""
        offsets = [self.get_buffer(f"offsets_{i}") for i in range(len(self.networks))]
        made = [network(o) for network, o in zip(self.networks, offsets, strict=True)]
        # As far apart as weights that are learned directly.
        return torch.cat([code / math.sqrt(len(code)) for code in made])
