"""What a supernet can be: options for every stage, and an architecture as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray
from torch import nn

from pc3d.models.unet import BlockFactory, Stage
from pc3d.search.arch import BLOCK_GENES, GENES, ArchSpec, StageSpec

Pick = Callable[[str, Sequence[Any]], Any]
"""Chooses one of some options for a gene of that name."""


class Options(NamedTuple):
    """What a stage may be.

    Attributes:
        width, depth, codes, groups, expansion: numbers.
        transition: channels per channel of the width.
        block: kinds, that of the largest subnet first and that of the smallest last.
    """

    width: tuple[int, ...]
    depth: tuple[int, ...]
    transition: tuple[float, ...]
    block: tuple[str, ...]
    codes: tuple[int, ...]
    groups: tuple[int, ...]
    expansion: tuple[int, ...]


class Space(Protocol):
    """What a search needs to know of the architectures that it chooses from.

    Attributes:
        stages: what each stage may be.
    """

    stages: tuple[Options, ...]

    def __hash__(self) -> int: ...
    @property
    def largest(self) -> ArchSpec: ...
    @property
    def smallest(self) -> ArchSpec: ...
    def transitions(self, number: int, width: int) -> tuple[int, ...]: ...
    def stem_channels(self, arch: ArchSpec) -> int: ...
    def sample(self, rng: np.random.Generator) -> ArchSpec: ...
    def suggest(self, pick: Pick) -> ArchSpec: ...
    def mutate(self, arch: ArchSpec, rate: float, rng: np.random.Generator) -> ArchSpec: ...
    def crossover(self, a: ArchSpec, b: ArchSpec, rng: np.random.Generator) -> ArchSpec: ...
    def check(self, arch: ArchSpec) -> None: ...
    def plain(self) -> dict[str, Any]: ...
    def config(self, arch: ArchSpec) -> dict[str, Any]: ...
    def build(self, arch: ArchSpec, in_channels: int, num_classes: int) -> nn.Module: ...


class SearchSpace:
    """All architectures that a supernet contains.

    Args:
        network: configuration of `pc3d.models.StagedUNet`, without stages.
        blocks: configurations of the kinds of blocks by name; a codebook with all codes that there
            can be.
        genes: options of every gene (see `Options`): a list for all stages, or a list of lists with
            one for each stage. `width` is always the latter.
        divisor: of the transitions' channels.

    Raises:
        ValueError: options that no network can be built with; the gene is named.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        blocks: Mapping[str, Mapping[str, Any]],
        genes: Mapping[str, Sequence[Any]],
        divisor: int = 16,
    ) -> None:
        self.network, self.blocks, self.divisor = network, blocks, divisor
        self._network = instantiate({**network, "_partial_": True}, _convert_="all")
        self._factories: dict[StageSpec, BlockFactory] = {}
        unknown = set(genes) - set(GENES)
        missing = {"width", "depth", "transition", "block"} - set(genes)
        if unknown or missing:
            raise ValueError(
                f"genes: expected width, depth, transition, block, and any of "
                f"{', '.join(BLOCK_GENES)}; got {', '.join(genes)}"
            )
        number = len(genes["width"])
        columns = {gene: _per_stage(gene, genes.get(gene, ()), number) for gene in GENES}
        self.stages = tuple(
            Options(**{gene: column[i] for gene, column in columns.items()}) for i in range(number)
        )
        self._check(genes)

    def _check(self, genes: Mapping[str, Sequence[Any]]) -> None:
        kinds = {kind for options in self.stages for kind in options.block}
        if kinds - set(self.blocks):
            raise ValueError(
                f"genes.block: no kind {', '.join(sorted(kinds - set(self.blocks)))}; blocks has "
                f"{', '.join(self.blocks)}"
            )
        for gene, place in BLOCK_GENES.items():
            if gene in genes and not any(self._has(kind, gene) for kind in kinds):
                raise ValueError(
                    f"genes.{gene}: none of {', '.join(sorted(kinds))} has {'.'.join(place)}, so "
                    "that this gene changes nothing; leave it out"
                )
        split = [kind for kind in kinds if _get(self.blocks[kind], ("attention", "split", "at"))]
        if split:
            raise ValueError(
                f"blocks.{split[0]}.attention.split.at: codes of a supernet cannot be split, their "
                "number is a gene; leave `at` empty"
            )
        for number, options in enumerate(self.stages):
            for kind in options.block:
                self._check_block(number, options, kind)

    def _check_block(self, number: int, options: Options, kind: str) -> None:
        most = max(self.genes_of(number, kind).get("codes", (0,)))
        if most > self._num_codes(kind):
            raise ValueError(
                f"genes.codes: stage {number} may have {most} codes, but {kind} has "
                f"{self._num_codes(kind)}"
            )
        for stage in self._choices(number, kind):
            channels = stage.width * (stage.expansion or 1)
            if stage.groups and channels % stage.groups:
                raise ValueError(
                    f"genes.groups: {stage.groups} groups do not divide {channels} channels in "
                    f"stage {number} (width {stage.width}); change width, groups or expansion"
                )

    def transitions(self, number: int, width: int) -> tuple[int, ...]:
        """Channels that the transition to a stage of this width may have, ascending."""
        ratios = self.stages[number].transition
        return tuple(sorted({self._transition(width, ratio) for ratio in ratios}))

    def _transition(self, width: int, ratio: float) -> int:
        step = self.divisor
        return width if ratio == 1 else max(step, int(ratio * width) // step * step)

    def genes_of(self, number: int, kind: str) -> dict[str, tuple[int, ...]]:
        """The block genes that a kind has in a stage, with their options.

        A block that turns out to have one code has no choice, and no groups: see `_canonical`.
        """
        options = self.stages[number]._asdict()
        return {
            gene: options[gene] for gene in BLOCK_GENES if options[gene] and self._has(kind, gene)
        }

    def _has(self, kind: str, gene: str) -> bool:
        """Whether a kind of block has a gene; a depthwise one, with one code, chooses nothing."""
        if gene in ("codes", "groups") and self._num_codes(kind) < 2:
            return False
        return _get(self.blocks[kind], BLOCK_GENES[gene]) is not None

    def _num_codes(self, kind: str) -> int:
        return len(_get(self.blocks[kind], BLOCK_GENES["codes"]) or ())

    def _choices(self, number: int, kind: str) -> Iterator[StageSpec]:
        """Every width, number of groups and expansion of a stage."""
        genes = self.genes_of(number, kind)
        for width in self.stages[number].width:
            for groups in genes.get("groups", (None,)):
                for expansion in genes.get("expansion", (None,)):
                    yield StageSpec(width, 1, width, kind, None, groups, expansion)

    @property
    def largest(self) -> ArchSpec:
        """Of every gene the largest option, of every stage the first kind of block."""
        return ArchSpec(tuple(self.extreme(i, o.block[0], max) for i, o in enumerate(self.stages)))

    @property
    def smallest(self) -> ArchSpec:
        """Of every gene the smallest option, of every stage the last kind of block."""
        return ArchSpec(tuple(self.extreme(i, o.block[-1], min) for i, o in enumerate(self.stages)))

    def extreme(self, number: int, kind: str, of: Any) -> StageSpec:
        """The stage with the largest (`of` is `max`) or smallest options, for a kind of block."""
        options = self.stages[number]
        width = of(options.width)
        genes = {gene: of(values) for gene, values in self.genes_of(number, kind).items()}
        transition = of(self.transitions(number, width))
        return _canonical(StageSpec(width, of(options.depth), transition, kind, **genes))

    def sample(self, rng: np.random.Generator) -> ArchSpec:
        """Every gene drawn uniformly."""
        return self.suggest(lambda _, options: options[int(rng.integers(len(options)))])

    def suggest(self, pick: Pick) -> ArchSpec:
        """Every gene picked by the caller, always the same genes in the same order.

        What a gene that the chosen kind of block does not have is given changes nothing.

        Args:
            pick: chooses one of some options; it is given the name of the gene first, such as
                `"3.width"`, the number of the stage before it.
        """
        return ArchSpec(tuple(self._suggested(i, pick) for i in range(len(self.stages))))

    def mutate(self, arch: ArchSpec, rate: float, rng: np.random.Generator) -> ArchSpec:
        """Every gene drawn anew with probability `rate`, and those that depend on it if need be."""
        drawn = self.sample(rng).stages
        return ArchSpec(
            tuple(
                self._mixed(i, pair, rng.random(len(GENES)) < rate, rng)
                for i, pair in enumerate(zip(arch.stages, drawn, strict=True))
            )
        )

    def crossover(self, a: ArchSpec, b: ArchSpec, rng: np.random.Generator) -> ArchSpec:
        """Every gene of one of two, at random."""
        return ArchSpec(
            tuple(
                self._mixed(i, pair, rng.random(len(GENES)) < 0.5, rng)
                for i, pair in enumerate(zip(a.stages, b.stages, strict=True))
            )
        )

    def _suggested(self, number: int, pick: Pick) -> StageSpec:
        taken = {
            gene: pick(f"{number}.{gene}", options)
            for gene, options in self.stages[number]._asdict().items()
            if options
        }
        possible = self.genes_of(number, taken["block"])
        genes = {gene: taken[gene] for gene in possible}
        between = self._transition(taken["width"], taken["transition"])
        return _canonical(
            StageSpec(taken["width"], taken["depth"], between, taken["block"], **genes)
        )

    def _mixed(
        self,
        number: int,
        pair: tuple[StageSpec, StageSpec],
        from_second: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> StageSpec:
        """Genes of the first or of the second stage; what does not go together is drawn."""
        first = asdict(pair[0])
        second = asdict(pair[1])
        taken = {
            gene: (second if other else first)[gene]
            for gene, other in zip(GENES, from_second, strict=True)
        }
        possible = self.genes_of(number, taken["block"])
        for gene in BLOCK_GENES:
            if gene not in possible:
                taken[gene] = None
            elif taken[gene] is None:
                taken[gene] = _pick(possible[gene], rng)
        transitions = self.transitions(number, taken["width"])
        if taken["transition"] not in transitions:
            taken["transition"] = _pick(transitions, rng)
        return _canonical(StageSpec(**taken))

    def check(self, arch: ArchSpec) -> None:
        """Refuse an architecture that the supernet does not contain.

        Raises:
            ValueError: names the stage and the gene, and what there is.
        """
        check_num_stages(arch, len(self.stages))
        for number, (stage, options) in enumerate(zip(arch.stages, self.stages, strict=True)):
            allowed: dict[str, tuple[Any, ...]] = {
                "width": options.width,
                "depth": options.depth,
                "transition": self.transitions(number, stage.width),
                "block": options.block,
            }
            for gene, values in allowed.items():
                check_gene(number, gene, getattr(stage, gene), values)
            genes: dict[str, tuple[Any, ...]] = dict(self.genes_of(number, stage.block))
            if stage.codes == 1:
                genes["groups"] = (None,)
            for gene in BLOCK_GENES:
                check_gene(number, gene, getattr(stage, gene), genes.get(gene, (None,)))

    def stem_channels(self, arch: ArchSpec) -> int:
        """Channels in front of the first stage, which no gene changes."""
        return int(self.network.get("stem_channels", 32))  # as `StagedUNet` has it

    def plain(self) -> dict[str, Any]:
        """What the space is, for JSON."""
        return {
            "network": dict(self.network),
            "blocks": {kind: dict(block) for kind, block in self.blocks.items()},
            "stages": [options._asdict() for options in self.stages],
            "divisor": self.divisor,
        }

    def config(self, arch: ArchSpec) -> dict[str, Any]:
        """The configuration of the ordinary network that an architecture is."""
        stages = [
            {
                "width": stage.width,
                "depth": stage.depth,
                "transition": stage.transition,
                "block": self._block_config(stage),
            }
            for stage in arch.stages
        ]
        return {**self.network, "stages": stages}

    def block(self, stage: StageSpec) -> BlockFactory:
        """Makes one block of a stage."""
        key = replace(stage, width=0, depth=0, transition=0)
        if key not in self._factories:
            self._factories[key] = instantiate(self._block_config(stage), _convert_="all")
        return self._factories[key]

    def _block_config(self, stage: StageSpec) -> dict[str, Any]:
        block = dict(self.blocks[stage.block])
        attention = block.get("attention")
        if stage.expansion is not None:
            block["expansion"] = stage.expansion
        if isinstance(attention, Mapping):
            attention = dict(attention)
            if stage.codes is not None:
                attention["codes"] = list(attention["codes"])[: stage.codes]
            if stage.groups is not None or stage.codes == 1:
                attention["groups"] = stage.groups or 1
            block["attention"] = attention
        return block

    def build(self, arch: ArchSpec, in_channels: int, num_classes: int) -> nn.Module:
        """The ordinary network, freshly initialized; that of `config`, at less cost."""
        stages = [
            Stage(stage.width, stage.depth, stage.transition, self.block(stage))._asdict()
            for stage in arch.stages
        ]
        network: nn.Module = self._network(
            stages=stages, in_channels=in_channels, num_classes=num_classes
        )
        return network


def _canonical(stage: StageSpec) -> StageSpec:
    """The same network written in one way only: nothing chooses among one code."""
    return replace(stage, groups=None) if stage.codes == 1 else stage


def _per_stage(gene: str, options: Sequence[Any], number: int) -> list[tuple[Any, ...]]:
    if options and isinstance(options[0], Sequence) and not isinstance(options[0], str):
        found = [tuple(stage) for stage in options]
        if len(found) != number:
            raise ValueError(f"genes.{gene}: {len(found)} lists for {number} stages")
    else:
        found = [tuple(options)] * number
    if gene not in BLOCK_GENES and not all(found):
        raise ValueError(f"genes.{gene}: every stage needs at least one option")
    return found


def check_num_stages(arch: ArchSpec, number: int) -> None:
    """Refuse an architecture with another number of stages than the supernet has."""
    if len(arch.stages) != number:
        raise ValueError(
            f"an architecture of {len(arch.stages)} stages does not fit a supernet of {number}"
        )


def check_gene(number: int, gene: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse a value of a gene of a stage that is none of the allowed ones."""
    if value not in allowed:
        known = ", ".join(map(str, allowed))
        raise ValueError(f"stage {number}: {gene} {value}; this supernet has {known}")


def _pick(options: Sequence[Any], rng: np.random.Generator) -> Any:
    return options[int(rng.integers(len(options)))]


def _get(config: Mapping[str, Any], place: Sequence[str]) -> Any:
    """The value at a place in nested mappings, or None."""
    for key in place:
        if not isinstance(config, Mapping) or key not in config:
            return None
        config = config[key]
    return config
