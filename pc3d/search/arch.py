"""An architecture as a value, and the names of its genes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

BLOCK_GENES: Mapping[str, tuple[str, ...]] = {
    "codes": ("attention", "codes"),
    "groups": ("attention", "groups"),
    "expansion": ("expansion",),
}
"""Genes of a block, and where its configuration has them."""
GENES = ("width", "depth", "transition", "block", *BLOCK_GENES)


@dataclass(frozen=True)
class StageSpec:
    """One stage of a subnet.

    Attributes:
        width: channels.
        depth: number of blocks.
        transition: channels of the down or up convolution before them.
        block: name of their kind.
        codes: number of codes of a codebook, the first ones; None for a block without.
        groups: of channels that choose separately; None for a block without a choice.
        expansion: channels of the values per channel; None for a block without.
    """

    width: int
    depth: int
    transition: int
    block: str
    codes: int | None = None
    groups: int | None = None
    expansion: int | None = None


@dataclass(frozen=True)
class ArchSpec:
    """An architecture as a value: frozen, hashable, and plain in YAML.

    Attributes:
        stages: encoder, then decoder.
    """

    stages: tuple[StageSpec, ...]

    @classmethod
    def from_plain(cls, stages: Sequence[Mapping[str, Any]]) -> ArchSpec:
        """From what `plain` gives.

        Raises:
            ValueError: a stage with an unknown gene, or without one that every stage has.
        """
        known = {field.name for field in fields(StageSpec)}
        for number, stage in enumerate(stages):
            if set(stage) - known or not {"width", "depth", "transition", "block"} <= set(stage):
                raise ValueError(
                    f"stage {number} of an architecture has {', '.join(stage)}; expected width, "
                    f"depth, transition and block, and of {', '.join(BLOCK_GENES)} what the block "
                    "has"
                )
        return cls(tuple(StageSpec(**stage) for stage in stages))

    def plain(self) -> list[dict[str, Any]]:
        """The genes of every stage that has them, for YAML and JSON."""
        return [
            {gene: value for gene, value in asdict(stage).items() if value is not None}
            for stage in self.stages
        ]

    @property
    def name(self) -> str:
        """Eight hexadecimal digits that stand for it in tables and names of files."""
        return hashlib.sha256(json.dumps(self.plain()).encode()).hexdigest()[:8]
