"""What a network costs: work, time and memory, of every module and of the whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median

import torch
from torch import Tensor, nn

from pc3d.profiling.laps import Seconds
from pc3d.profiling.memory import Bytes, memory_of
from pc3d.profiling.scopes import Scope
from pc3d.profiling.subject import MakeBatch, Subject, Turn
from pc3d.profiling.work import Work, multiply_adds
from pc3d.sparse import Batch

KINDS = ("inference", "forward", "backward")


@dataclass(frozen=True)
class Cost:
    """Of one module without those within it, or of a whole.

    Attributes:
        parameters: weights.
        macs: multiply-adds of a forward pass in evaluation.
        inference: seconds of a forward pass in evaluation, without the maps.
        maps: seconds in which maps were built in evaluation, for the module that asked first.
        forward: seconds of a forward pass in training, maps included.
        backward: seconds of the way back.
        held: bytes that a forward pass in training leaves for the way back.
        map_bytes: bytes of maps, which live as long as their batch.
    """

    parameters: int = 0
    macs: int = 0
    inference: float = 0.0
    maps: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    held: int = 0
    map_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        names = [field.name for field in fields(self)]
        return Cost(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True)
class Totals:
    """Measured of the whole, without looking at its parts.

    Attributes:
        inference: seconds of a forward pass in evaluation, maps included.
        forward: seconds of a forward pass in training and of the loss.
        backward: seconds of the way back.
        training_macs: multiply-adds of a forward pass in training and of the way back.
        inference_peak: bytes at most, beside weights and batch.
        training_peak: likewise of a training step without the optimizer.
    """

    inference: float
    forward: float
    backward: float
    training_macs: int
    inference_peak: int
    training_peak: int


@dataclass(frozen=True)
class Profile:
    """What a network costs on one batch.

    Attributes:
        modules: of every module by its name, the empty string for the network itself, in the order
            of their definition; of itself alone.
        kinds: their classes.
        outside: what lies outside the network: the loss.
        totals: measured without looking at the parts.
        num_points: of the batch.
        num_voxels: likewise.
    """

    modules: Mapping[str, Cost]
    kinds: Mapping[str, str]
    outside: Cost
    totals: Totals
    num_points: int
    num_voxels: int

    @property
    def parts(self) -> Cost:
        """The sum of all modules and of what lies outside."""
        return sum(self.modules.values(), self.outside)

    def within(self, name: str) -> Cost:
        """A module with all that are within it, by their names."""
        inside = f"{name}." if name else ""
        costs = (c for n, c in self.modules.items() if n == name or n.startswith(inside))
        return sum(costs, Cost())


def profile(
    network: nn.Module,
    make_batch: MakeBatch,
    *,
    warmup: int = 2,
    runs: int = 5,
    autocast: torch.dtype | None = None,
) -> Profile:
    """Measure a network, which is left as it is.

    Passes whose parts are told apart take turns with others that are not, and the latter are the
    totals: the sum of the parts shows how far these can be trusted. Totals are medians, parts are
    those of the pass whose sum is the median.

    Args:
        network: a `pc3d.models.SegmentationModel`, on the device to measure.
        make_batch: gives the batch, on the same device.
        warmup: passes before the clock starts, at least 1.
        runs: timed passes, at least 1.
        autocast: the type that features are computed in, or None for float32.

    Raises:
        ValueError: no passes, or a batch without voxels.
    """
    if warmup < 1 or runs < 1:
        raise ValueError(f"warmup and runs must be at least 1; got {warmup} and {runs}")
    subject = Subject(copy.deepcopy(network), make_batch, autocast)
    num_points, num_voxels = _size(make_batch())
    turns = []
    for _ in range(warmup + runs):
        turns.append((subject.turn(by_scope=True), subject.turn(by_scope=False)))
    apart, whole = zip(*turns[warmup:], strict=True)

    subject.network.eval()
    with torch.no_grad():
        batch = make_batch()
        work = multiply_adds(subject.network, lambda: subject.forward(batch))
        batch = make_batch()
        inference = memory_of(subject.network, lambda: subject.forward(batch))
    subject.network.train()
    batch = make_batch()
    training_work = multiply_adds(subject.network, lambda: subject.loss(batch).backward())
    subject.network.zero_grad()
    batch = make_batch()
    training = memory_of(subject.network, lambda: subject.loss(batch), Tensor.backward)

    modules = dict(subject.network.named_modules())
    costs = _costs(modules, work, apart, training.held)
    return Profile(
        modules={name: costs[name] for name in modules},
        kinds={name: type(module).__name__ for name, module in modules.items()},
        outside=costs[None],
        totals=Totals(
            **{kind: median(turn.sums[kind] for turn in whole) for kind in KINDS},
            training_macs=sum(training_work.values()),
            inference_peak=inference.peak,
            training_peak=training.peak,
        ),
        num_points=num_points,
        num_voxels=num_voxels,
    )


def _size(batch: Batch) -> tuple[int, int]:
    if not len(batch.voxels.coords):
        raise ValueError("the batch has no voxels: there is nothing to measure")
    return batch.points.num_points, len(batch.voxels.coords)


def _costs(
    modules: Mapping[str, nn.Module], work: Work, turns: Sequence[Turn], held: Bytes
) -> dict[str | None, Cost]:
    """Of every module by its name, and, under None, of what lies outside."""
    times = {kind: _typical([getattr(turn, kind) for turn in turns]) for kind in KINDS}
    found: dict[str | None, Cost] = {}
    for name in (*modules, None):
        here, maps = Scope(name), Scope(name, maps=True)
        own = [] if name is None else modules[name].parameters(recurse=False)
        found[name] = Cost(
            parameters=sum(parameter.numel() for parameter in own),
            macs=work.get(here, 0) + work.get(maps, 0),
            inference=times["inference"].get(here, 0.0),
            maps=times["inference"].get(maps, 0.0),
            forward=times["forward"].get(here, 0.0) + times["forward"].get(maps, 0.0),
            backward=times["backward"].get(here, 0.0) + times["backward"].get(maps, 0.0),
            held=held.get(here, 0),
            map_bytes=held.get(maps, 0),
        )
    return found


def _typical(laps: Sequence[Seconds]) -> Seconds:
    """The pass whose sum is the median, so that its parts are those of one pass."""
    return sorted(laps, key=lambda lap: sum(lap.values()))[(len(laps) - 1) // 2]
