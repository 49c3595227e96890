"""What stitched networks can be: in every stage that of one of several trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
from hydra.utils import instantiate
from torch import nn

from pc3d.models import MinkUNet, StagedUNet, VoxelTransformer
from pc3d.search.arch import ArchSpec, StageSpec
from pc3d.search.space import Options, Pick, check_gene, check_num_stages

BASIC = {"_target_": "pc3d.nn.BasicBlock", "_partial_": True}
_STAGED = "pc3d.models.StagedUNet"
_MODELS = {
    _STAGED: StagedUNet,
    "pc3d.models.VoxelTransformer": VoxelTransformer,
    "pc3d.models.MinkUNet": MinkUNet,
}
_KEPT = ("stem_channels", "stem_depth", "stem_kernel_size", "regularizers")


def staged_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """The same network as a configuration of `pc3d.models.StagedUNet`, with names for all it has.

    Args:
        model: configuration of a `StagedUNet`, `VoxelTransformer` or `MinkUNet`, as plain values.

    Raises:
        ValueError: of another network, or of one with a branch of points.
    """
    target = str(model.get("_target_"))
    if target not in _MODELS:
        raise ValueError(
            f"a {target} has no stages that could be stitched; expected one of {', '.join(_MODELS)}"
        )
    given = {**_defaults(StagedUNet), **_defaults(_MODELS[target]), **model}
    if given["point_branch"] is not None:
        raise ValueError(
            "a network with a branch of points cannot be stitched: the branch passes its stages by"
        )
    if target == _STAGED:
        stages = given["stages"]
    elif target.endswith("MinkUNet"):
        stages = MinkUNet.stages_of(
            given["widths"], given["depths"], given["stem_channels"], given["expand_down"]
        )
    else:
        stages = VoxelTransformer.stages_of(
            given["widths"], given["depths"], given["block"], given["attention_stages"], BASIC
        )
    stages = [{"block": BASIC, **stage} for stage in stages]
    return {"_target_": _STAGED, "stages": stages, **{key: given[key] for key in _KEPT}}


def _defaults(model: type) -> dict[str, Any]:
    """Values of the constructor's arguments that need not be given."""
    parameters = signature(model).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


class StitchSpace:
    """All networks whose stages are taken from trained ones (SN-Net, arXiv 2302.06586).

    An architecture says of every stage whose it is: that is its `block`, and width, depth and
    transition follow. The stem is that of the network which the first stage is of, the head that
    of the last one.

    Args:
        anchors: configurations of `pc3d.models.StagedUNet` by name, see `staged_config`; the
            largest network first, the smallest last.

    Raises:
        ValueError: fewer than two, or of different numbers of stages; a name with a dot.
    """

    def __init__(self, anchors: Mapping[str, Mapping[str, Any]]) -> None:
        self.anchors = {name: dict(config) for name, config in anchors.items()}
        self.names = tuple(self.anchors)
        numbers = {name: len(config["stages"]) for name, config in anchors.items()}
        if len(numbers) < 2 or len(set(numbers.values())) > 1:
            shown = ", ".join(f"{name} of {number} stages" for name, number in numbers.items())
            raise ValueError(
                f"stitching needs two networks or more, of equally many stages; got {shown}"
            )
        if any("." in name or not name for name in self.names):
            raise ValueError(f"names of networks cannot have dots; got {', '.join(self.names)}")
        self._specs = {
            name: tuple(
                StageSpec(stage["width"], stage["depth"], stage["transition"], name)
                for stage in config["stages"]
            )
            for name, config in self.anchors.items()
        }
        self.stages = tuple(self._options(number) for number in range(max(numbers.values())))

    def _options(self, number: int) -> Options:
        specs = [self._specs[name][number] for name in self.names]
        return Options(
            width=tuple(dict.fromkeys(spec.width for spec in specs)),
            depth=tuple(dict.fromkeys(spec.depth for spec in specs)),
            transition=tuple(dict.fromkeys(spec.transition / spec.width for spec in specs)),
            block=self.names,
            codes=(),
            groups=(),
            expansion=(),
        )

    def only(self, name: str) -> ArchSpec:
        """The architecture of one of the trained networks."""
        return ArchSpec(self._specs[name])

    @property
    def largest(self) -> ArchSpec:
        """The first of the trained networks."""
        return self.only(self.names[0])

    @property
    def smallest(self) -> ArchSpec:
        """The last of the trained networks."""
        return self.only(self.names[-1])

    def transitions(self, number: int, width: int) -> tuple[int, ...]:
        """Channels that the transition to a stage of this width may have, ascending."""
        specs = (self._specs[name][number] for name in self.names)
        return tuple(sorted({spec.transition for spec in specs if spec.width == width}))

    def stem_channels(self, arch: ArchSpec) -> int:
        """Channels in front of the first stage."""
        return int(self.anchors[arch.stages[0].block]["stem_channels"])

    def suggest(self, pick: Pick) -> ArchSpec:
        """Every stage picked by the caller; see `SearchSpace.suggest`."""
        return self._of(pick(f"{i}.block", self.names) for i in range(len(self.stages)))

    def sample(self, rng: np.random.Generator) -> ArchSpec:
        """Every stage drawn uniformly."""
        return self.suggest(lambda _, options: options[int(rng.integers(len(options)))])

    def mutate(self, arch: ArchSpec, rate: float, rng: np.random.Generator) -> ArchSpec:
        """Every stage drawn anew with probability `rate`."""
        return self._mixed(arch, self.sample(rng), rate, rng)

    def crossover(self, a: ArchSpec, b: ArchSpec, rng: np.random.Generator) -> ArchSpec:
        """Every stage of one of two, at random."""
        return self._mixed(a, b, 0.5, rng)

    def _mixed(self, a: ArchSpec, b: ArchSpec, rate: float, rng: np.random.Generator) -> ArchSpec:
        from_b = rng.random(len(self.stages)) < rate
        pairs = zip(a.stages, b.stages, from_b, strict=True)
        return ArchSpec(tuple(second if other else first for first, second, other in pairs))

    def _of(self, names: Any) -> ArchSpec:
        return ArchSpec(tuple(self._specs[name][i] for i, name in enumerate(names)))

    def check(self, arch: ArchSpec) -> None:
        """Refuse an architecture that is not of this space.

        Raises:
            ValueError: names the stage and the gene, and what there is.
        """
        check_num_stages(arch, len(self.stages))
        for number, stage in enumerate(arch.stages):
            check_gene(number, "block", stage.block, self.names)
            spec = self._specs[stage.block][number]
            for gene in ("width", "depth", "transition", "codes", "groups", "expansion"):
                check_gene(number, gene, getattr(stage, gene), (getattr(spec, gene),))

    def plain(self) -> dict[str, Any]:
        """What the space is, for JSON."""
        return {"anchors": self.anchors}

    def config(self, arch: ArchSpec) -> dict[str, Any]:
        """The configuration of the ordinary network that an architecture is."""
        stages: Sequence[Mapping[str, Any]] = [
            self.anchors[stage.block]["stages"][number] for number, stage in enumerate(arch.stages)
        ]
        largest = self.anchors[self.names[0]]
        stem = self.anchors[arch.stages[0].block]
        return {**stem, "regularizers": largest["regularizers"], "stages": stages}

    def build(self, arch: ArchSpec, in_channels: int, num_classes: int) -> nn.Module:
        """The ordinary network, freshly initialized."""
        network: nn.Module = instantiate(
            self.config(arch), _convert_="all", in_channels=in_channels, num_classes=num_classes
        )
        return network
