"""Queries and keys out of a codebook, for vector attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.nn.choice import Choice
from pc3d.nn.vector_quantize import VectorQuantizer


class DiscreteRelation(nn.Module):
    """Queries and keys that are codes: chosen by logits (`choice`), or nearest (`quantizer`).

        choice:     q[n] = sum over codes m of Choice(Wq x[n])[m] e[m]       keys likewise, with Wk
        quantizer:  q[n] = the code nearest to Wq x[n]

    Both have the same codes. The voxel side has the same two kinds: `Choice` as in
    `CodebookAttention`, `VectorQuantizer` as in `PatternAttention`.

    Args:
        in_channels: C_in.
        channels: C, length of a code.
        codes_per_channel: M / C, with M the number of codes.
        choice: options of `Choice`, such as `{kind: gumbel}` or `{kind: st_argmax}`.
        quantizer: options of `VectorQuantizer`, such as `{decay: 0.99}`.

    Raises:
        ValueError: both or neither of `choice` and `quantizer`.

    Shape: [N, C_in] to [N, C] twice.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        codes_per_channel: float = 0.25,
        choice: Mapping[str, Any] | None = None,
        quantizer: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (choice is None) == (quantizer is None):
            raise ValueError("codes are chosen by `choice` or by `quantizer`; give one of them")
        num_codes = max(1, round(codes_per_channel * channels))
        self.choice = None if choice is None else Choice(**choice)
        self.quantizer: VectorQuantizer | None = None
        if quantizer is not None:
            self.quantizer = VectorQuantizer(num_codes=num_codes, dim=channels, **quantizer)
        else:
            self.codes = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(num_codes, channels)))
        width = channels if choice is None else num_codes
        self.query, self.key = nn.Linear(in_channels, width), nn.Linear(in_channels, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.cat([self.query(x), self.key(x)])
        if self.choice is not None:
            found = self.choice(rows.unsqueeze(2)).squeeze(2) @ self.codes
        else:
            assert self.quantizer is not None
            found, _, _ = self.quantizer(rows)
        queries, keys = found.chunk(2)
        return queries, keys
