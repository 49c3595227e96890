"""A first state for a network, taken from one that was trained for other classes or features.

The rows of a head and the channels of a stem are matched by name:

* Classes that both label spaces have keep their rows; the rows of the others are as the network was
  initialized. A wall stays a wall.
* Features that both have keep their channels; those of further features start at zero. The network
  then begins with the function that it learned, and since the gradient of a zero weight is not
  zero, it learns to use what is new; random channels would only add noise to that function. Where
  no feature is shared there is no function to keep, and zeros would leave the norm behind the layer
  a constant: the whole layer then is as it was initialized.

Everything else must fit, or nothing is taken: who asks for a trained backbone wants all of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from pc3d.models.api import TransferableModel
from pc3d.models.checkpoint import misfits, refuse
from pc3d.models.growth import grow_codes
from pc3d.models.weights import Weights

Kind = Literal["taken", "grown", "re-made"]


@dataclass(frozen=True)
class DataFacts:
    """What a network is made for.

    Attributes:
        label_space: its name, e.g. `"scannet20"`.
        class_names: one name per class, in the order of the logits.
        features: name and number of channels of every feature, in the order of the channels.
        voxel_size: metres.
    """

    label_space: str
    class_names: tuple[str, ...]
    features: tuple[tuple[str, int], ...]
    voxel_size: float

    @property
    def channels(self) -> list[tuple[str, int]]:
        """Feature and number within the feature, for every channel."""
        return [(name, i) for name, width in self.features for i in range(width)]

    @property
    def feature_names(self) -> list[str]:
        return [name for name, _ in self.features]


@dataclass(frozen=True)
class Origin:
    """Where a tensor of a network's first state comes from.

    Attributes:
        name: in the network's state.
        kind: `"taken"` as it is, `"grown"` by further codes, `"re-made"` in part or as a whole.
        num_values: its size.
        reason: why it was not taken as it is; else empty.
    """

    name: str
    kind: Kind
    num_values: int
    reason: str = ""


@dataclass(frozen=True)
class Transfer:
    """A first state for a network, and where it comes from.

    Attributes:
        state: for `load_state_dict`.
        origins: one for every tensor of the state.
        given: what the checkpoint's network was made for.
        wanted: what this network is made for.
    """

    state: dict[str, Tensor]
    origins: tuple[Origin, ...]
    given: DataFacts
    wanted: DataFacts

    def lines(self) -> list[str]:
        """What was taken and what not, for people: one line per reason."""
        taken = [origin for origin in self.origins if origin.kind == "taken"]
        lines = [
            f"taken as they are: {len(taken)} of {len(self.origins)} tensors, "
            f"{sum(o.num_values for o in taken):,} of {sum(o.num_values for o in self.origins):,} "
            "values"
        ]
        for kind, reason in dict.fromkeys((o.kind, o.reason) for o in self.origins if o.reason):
            names = [o.name for o in self.origins if (o.kind, o.reason) == (kind, reason)]
            shown = names[:3] + [f"{len(names) - 3} more"] * (len(names) > 3)
            lines.append(f"{kind}: {', '.join(shown)}: {reason}")
        return lines

    def warning(self) -> str | None:
        """What fits and yet may surprise, if anything does."""
        given, wanted = self.given.voxel_size, self.wanted.voxel_size
        if given == wanted:
            return None
        return (
            f"trained with voxels of {given} m, now {wanted} m: every kernel covers "
            f"{wanted / given:.3g} times the length that it was trained for"
        )

    def as_json(self) -> dict[str, Any]:
        """The whole report as plain values."""
        facts = {"checkpoint": self.given, "now": self.wanted}
        tensors = [
            {"name": o.name, "kind": o.kind, "values": o.num_values, "reason": o.reason}
            for o in self.origins
        ]
        return {
            "label_space": {key: value.label_space for key, value in facts.items()},
            "classes": {key: list(value.class_names) for key, value in facts.items()},
            "features": {key: value.feature_names for key, value in facts.items()},
            "voxel_size": {key: value.voxel_size for key, value in facts.items()},
            "tensors": tensors,
        }


def transfer(network: nn.Module, weights: Weights, given: DataFacts, wanted: DataFacts) -> Transfer:
    """Match weights to a network.

    Args:
        network: a `TransferableModel`, freshly initialized; it is not changed.
        weights: of another network.
        given: what that network was made for.
        wanted: what `network` is made for.

    Raises:
        ValueError: lists every tensor that does not fit, except in classes, features and codes.
    """
    model, own = cast(TransferableModel, network), network.state_dict()
    state = grow_codes(network, weights.state)
    channels = _Matching(given.channels, wanted.channels, _channel_reason(given, wanted), True)
    classes = _Matching(given.class_names, wanted.class_names, _class_reason(given, wanted), False)
    axes = {name: (channels, axis) for name, axis in model.channel_axes.items()}
    axes |= {name: (classes, axis) for name, axis in model.class_axes.items()}
    problems = []
    remade: dict[str, str] = {}
    for name, (matching, axis) in axes.items():
        if name in own and name in state and _fit_but_for(axis, own[name], state[name]):
            if state[name].shape[axis] != len(matching.given):
                problems.append(
                    f"{name} is for {state[name].shape[axis]} of what the checkpoint says are "
                    f"{len(matching.given)}"
                )
            elif matching.differ:
                state[name] = matching.applied(own[name], state[name], axis)
                remade[name] = matching.reason
    refuse(problems + misfits(own, state), weights.facts, weights.source)
    origins = tuple(_origins(own, weights.state, remade))
    return Transfer({name: state[name] for name in own}, origins, given, wanted)


@dataclass(frozen=True)
class _Matching:
    """Which entries along an axis stand for the same thing."""

    given: Sequence[Hashable]
    wanted: Sequence[Hashable]
    reason: str
    zeros: bool  # for what has no match, as long as something has

    @property
    def differ(self) -> bool:
        return list(self.given) != list(self.wanted)

    def applied(self, own: Tensor, saved: Tensor, axis: int) -> Tensor:
        """The tensor of the network with the entries of the checkpoint where they match."""
        place = {key: index for index, key in enumerate(self.given)}
        pairs = [(place[key], index) for index, key in enumerate(self.wanted) if key in place]
        if not pairs:
            return own.clone()
        sources, targets = torch.tensor(pairs, device=own.device).unbind(dim=1)
        start = torch.zeros_like(own) if self.zeros else own
        return start.index_copy(axis, targets, saved.to(own).index_select(axis, sources))


def _fit_but_for(axis: int, own: Tensor, saved: Tensor) -> bool:
    if own.ndim != saved.ndim:
        return False
    return all(
        a == b for i, (a, b) in enumerate(zip(own.shape, saved.shape, strict=True)) if i != axis
    )


def _origins(
    own: Mapping[str, Tensor], saved: Mapping[str, Tensor], remade: Mapping[str, str]
) -> Iterator[Origin]:
    for name, tensor in own.items():
        kind: Kind = "taken"
        reason = ""
        if name in remade:
            kind, reason = "re-made", remade[name]
        elif name not in saved or saved[name].shape != tensor.shape:
            kind, reason = "grown", "the further codes are copies of those that were there"
        yield Origin(name, kind, tensor.numel(), reason)


def _class_reason(given: DataFacts, wanted: DataFacts) -> str:
    shared = [name for name in wanted.class_names if name in given.class_names]
    rest = len(wanted.class_names) - len(shared)
    left_out = [name for name in given.class_names if name not in shared]
    names = f"{given.label_space} -> {wanted.label_space}"
    if not shared:
        return f"{names}: no class in common, all {rest} start at random"
    listed = f"{len(shared)} of {len(wanted.class_names)} classes taken ({', '.join(shared)})"
    parts = [listed] + [f"{rest} start at random"] * bool(rest)
    parts += [f"{len(left_out)} of the checkpoint's left out"] * bool(left_out)
    return f"{names}: {'; '.join(parts)}"


def _channel_reason(given: DataFacts, wanted: DataFacts) -> str:
    before, now = given.feature_names, wanted.feature_names
    shared = [name for name in now if name in before]
    names = f"features {'+'.join(before)} -> {'+'.join(now)}"
    if not shared:
        return f"{names}: none in common, all channels start at random"
    parts = [f"{', '.join(shared)} taken"]
    for word, found in (
        ("starts at zero", [name for name in now if name not in before]),
        ("left out", [name for name in before if name not in now]),
    ):
        parts += [f"{', '.join(found)} {word}"] * bool(found)
    return f"{names}: {'; '.join(parts)}"
