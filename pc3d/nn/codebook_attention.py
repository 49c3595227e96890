"""The voxel transformer block: codebook attention between pointwise layers.

CodedVTR (Zhao et al. 2022, arXiv 2203.09887). For a voxel n, code d and group g:

    logits[n, d, g] = sum over taps k of S_d[k, g] * q_d[neighbour k of n, g],
                      S_d[k, g] = sum of code d at tap k over the channels of group g
    y[n, c]         = sum over codes d of choice(logits)[n, d, g(c)]
                      * sum over taps k of code_d[k, c] * v[neighbour k of n, c]

with queries q_d from a convolution over the code's own neighbourhood and values v. Codes on the
voxels of twice the size: `pc3d.nn.coarse_codes`. The publication
writes S_d's sum inside the sum over channels; the query does not depend on the channel, so the two
are equal, and this one costs C / G times less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.nn.blocks import ConvBlock
from pc3d.nn.choice import Choice
from pc3d.nn.coarse_codes import at_children, mean_of_children, mix_two_strides
from pc3d.nn.codebook import Codebook, CodeSpec
from pc3d.nn.conv import PointwiseConv, SparseConv3d, SubmanifoldConv3d
from pc3d.nn.splitting import Copy, Rows, Splitting, copy_rows, shares_after
from pc3d.sparse import SparseTensor

Guidance = Literal["none", "occupancy", "pattern"]
Position = Literal["none", "table", "conv"]


class CodebookAttention(nn.Module):
    """Values [N, C] mixed by the codes that queries choose.

    Args:
        in_channels: channels of the features that queries are made of.
        channels: C, channels of values and output.
        codes: keyword arguments of a `CodeSpec` for every code.
        groups: G groups of channels that choose separately.
        choice: keyword arguments of `Choice`; None: no queries, the codes are summed. One code
            leaves nothing to choose: it is a depthwise convolution, and has no queries either.
        guidance: `"occupancy"` adds `guidance_weight` times the logarithm of the occupied fraction
            of a code's taps to its logits; `"pattern"` counts only the taps under each group's
            mask, so that a voxel leans to the code whose pattern its surroundings have.
        guidance_weight: see there.
        position: `"table"` adds a learned vector to the values at every tap; `"conv"` adds a
            depthwise 3x3x3 convolution of the values to them (Chu et al. 2021, arXiv 2102.10882).
        from_offsets: see `Codebook`.
        split: keyword arguments of `Splitting`. All codes that there will be have their weights
            from the start, and nothing chooses those that are yet to come.

    Raises:
        ValueError: see `Codebook`, `CodeSpec`, `Choice` and `Splitting`; codes to be split
            without a choice among them.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        codes: Sequence[Mapping[str, Any]],
        groups: int,
        choice: Mapping[str, Any] | None,
        guidance: Guidance = "none",
        guidance_weight: float = 1.0,
        position: Position = "none",
        from_offsets: int = 0,
        split: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("guidance", guidance, ("none", "occupancy", "pattern")),
            ("position", position, ("none", "table", "conv")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        self.splitting = Splitting(**(split or {}))
        if self.splitting.at and choice is None:
            raise ValueError("codes without a choice among them are summed and cannot be split")
        num_born = len(codes)
        specs = [CodeSpec(**code) for code in codes] * 2 ** len(self.splitting.at)
        self.codebook = Codebook(channels, groups, specs, from_offsets)
        if self.codebook.share is not None:
            self.codebook.share[num_born:] = 0
        if guidance == "pattern" and self.codebook.mask is None:
            raise ValueError(
                "guidance 'pattern' needs codes of shape 'mask'; none has masks. Learn them with "
                "data_prep.patterns, or use guidance 'occupancy'."
            )
        self.guidance, self.guidance_weight = guidance, guidance_weight
        self.choice = None if choice is None or len(self.codebook) == 1 else Choice(**choice)
        self.queries = nn.ModuleList()
        if self.choice is not None:
            self.queries.extend(
                QueryConv(in_channels, groups, spec.kernel) for spec in self.codebook.specs
            )
        one_code = [CodeSpec()]
        self.position_conv = Codebook(channels, 1, one_code) if position == "conv" else None
        self.position_table = (
            Codebook(channels, groups, self.codebook.specs) if position == "table" else None
        )

    def forward(self, x: SparseTensor, v: SparseTensor) -> SparseTensor:
        """Mixed values [N, C] from features x [N, in_channels] and values v [N, C]."""
        codes, tables = self.codebook.codes(), self.codebook.tables(x.coords)
        if self.position_conv is not None:
            near = self.position_conv.tables(x.coords)
            code = self.position_conv.codes()
            v = v.with_feats(v.feats + cuda_ops.codebook_attention(v.feats, None, code, near))
        weights = None
        if self.choice is not None:
            weights = self.choice(self.logits(x, codes, tables), self.codebook.share)
        y = self._mix(v, weights, codes, tables)
        if self.position_table is not None:
            ones = v.with_feats(torch.ones_like(v.feats))
            y = y + self._mix(ones, weights, self.position_table.codes(), tables)
        return v.with_feats(y)

    def rows_of(self, code: int) -> list[tuple[Rows, bool]]:
        """The parameters' rows that belong to one code, and whether they are the code itself."""
        queries = [name for name, _ in self.queries[code].named_parameters()]
        found = [(Rows(f"queries.{code}.{name}", slice(None)), False) for name in queries]
        books = {"codebook": self.codebook, "position_table": self.position_table}
        for prefix, book in books.items():
            rows = [] if book is None else book.rows_of(code)
            found += [(Rows(f"{prefix}.{name}", of_code), True) for name, of_code in rows]
        return found

    def copies(self, parent: int, child: int) -> list[Copy]:
        """What makes a code a copy of another one."""
        pairs = zip(self.rows_of(parent), self.rows_of(child), strict=True)
        return [Copy(source, target, noisy) for (source, noisy), (target, _) in pairs]

    @property
    def num_born(self) -> int:
        """How many codes are there, not counting those that are to come by splitting."""
        share = self.codebook.share
        return len(self.codebook) if share is None else int((share > 0).sum())

    @property
    def num_splits(self) -> int:
        """How often the codes have been split."""
        first = len(self.codebook) >> len(self.splitting.at)
        return int(math.log2(self.num_born / first))

    def split(self) -> list[Copy]:
        """Every code that is there becomes two: a copy plus noise, for half of its choices each.

        Without noise, and with a soft choice, the output stays as it is. The same on all ranks.

        Returns:
            What was copied, for the state of an optimizer.

        Raises:
            RuntimeError: there is no room for further codes; see `splitting.at`.
        """
        share = self.codebook.share
        if share is None or self.num_splits == len(self.splitting.at):
            raise RuntimeError(f"all {len(self.codebook)} codes are there, none is left to split")
        born = self.num_born
        copies = [copy for code in range(born) for copy in self.copies(code, born + code)]
        generator = torch.Generator().manual_seed(born)
        copy_rows(dict(self.named_parameters()), copies, self.splitting.noise, generator)
        share[: 2 * born] = shares_after(share[:born], range(born))
        return copies

    def _mix(
        self, v: SparseTensor, weights: Tensor | None, codes: Tensor, tables: Sequence[Tensor]
    ) -> Tensor:
        strides = [spec.stride for spec in self.codebook.specs]
        if 2 in strides:
            parts = codes.split(self.codebook.num_taps)
            return mix_two_strides(v, weights, parts, tables, strides)
        if weights is not None and self.choice is not None and self.choice.is_one_hot:
            chosen = weights.argmax(dim=1)
            return cuda_ops.routed_codebook_attention(v.feats, chosen, codes, tables)
        return cuda_ops.codebook_attention(v.feats, weights, codes, tables)

    def logits(self, x: SparseTensor, codes: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """[N, D, G], how much each voxel and group wants each code."""
        assert self.choice is not None
        groups, num_taps = self.codebook.groups, self.codebook.num_taps
        sums = codes.unflatten(1, (groups, -1)).sum(dim=2)
        if not self.choice.couple_grad:
            sums = sums.detach()
        specs, parts = self.codebook.specs, sums.split(num_taps)
        features = {1: x}
        if any(spec.stride == 2 for spec in specs):
            features[2] = mean_of_children(x)
        found = []
        for spec, query, code, table in zip(specs, self.queries, parts, tables, strict=True):
            asked = query(features[spec.stride]).feats
            wanted = cuda_ops.codebook_attention(asked, None, code, [table])
            found.append(wanted if spec.stride == 1 else at_children(wanted, x.coords))
        logits = torch.stack(found, dim=1)
        if self.guidance != "none":
            share = self.codebook.occupancy(x.coords, masked=self.guidance == "pattern")
            logits = logits + self.guidance_weight * (share + 1e-3).log()
        return logits


class QueryConv(SparseConv3d):
    """The query of one code: a convolution over its neighbourhood. [N, C_in] to [N, G]."""

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.convolve(x, x.coords)


class VoxelTransformerBlock(nn.Module):
    """A residual block around codebook attention.

    Values are a 3x3x3 convolution and a pointwise layer that widens by `expansion`; attention mixes
    them; a pointwise layer narrows again. Where the widths differ, a pointwise layer comes first.

    Args:
        in_channels: C_in.
        out_channels: C_out; `groups` must divide `expansion * C_out`.
        attention: `attention(in_channels, channels)` makes the layer that mixes the values, such as
            `CodebookAttention` with all but these two arguments given.
        expansion: channels of the values per output channel.
        value_conv: the 3x3x3 convolution before the values' pointwise layer.

    Shape: [N, C_in] to [N, C_out].
    """

    input_axes: ClassVar[Mapping[str, int]] = {"prelude.conv.weight": 1, "shortcut.weight": 1}
    stacked_axes: ClassVar[Mapping[str, tuple[int, int]]] = {}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        attention: Callable[[int, int], nn.Module],
        expansion: int = 2,
        value_conv: bool = True,
    ) -> None:
        super().__init__()
        channels = expansion * out_channels
        self.prelude, self.shortcut = change_width(in_channels, out_channels)
        layers = [pointwise(out_channels, channels)]
        if value_conv:
            conv = SubmanifoldConv3d(out_channels, out_channels)
            layers.insert(0, ConvBlock(conv, out_channels))
        self.values = nn.Sequential(*layers)
        self.attention = attention(out_channels, channels)
        self.project = pointwise(channels, out_channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        shortcut, x = self.shortcut(x), self.prelude(x)
        y: SparseTensor = self.project(self.attention(x, self.values(x)))
        return y + shortcut


def pointwise(in_channels: int, out_channels: int) -> ConvBlock:
    """A pointwise layer with batch norm and ReLU."""
    return ConvBlock(PointwiseConv(in_channels, out_channels, bias=False), out_channels)


def change_width(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    """What leads into a block's inner layers, and past them: nothing where the widths are equal."""
    if in_channels == out_channels:
        return nn.Identity(), nn.Identity()
    shortcut = PointwiseConv(in_channels, out_channels, bias=False)
    return pointwise(in_channels, out_channels), shortcut
