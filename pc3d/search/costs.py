"""What a network costs on the device at hand: exact work, measured time and memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import torch
from torch import nn

from pc3d.models.modes import evaluating
from pc3d.profiling import multiply_adds
from pc3d.profiling.batches import maker
from pc3d.profiling.budget import need
from pc3d.profiling.laps import Clock
from pc3d.search.arch import ArchSpec
from pc3d.search.records import Records
from pc3d.search.shared import SharedNetworks
from pc3d.sparse import Batch
from pc3d.utils.environment import code_version, environment

COSTS = ("latency", "memory", "macs", "parameters")
"""What can be a target; see `ArchCost`."""


@dataclass(frozen=True)
class ArchCost:
    """What a network costs on fixed scans, one at a time.

    Attributes:
        latency: seconds of a pass in evaluation, building of maps included, reading not; the median
            over passes through the scans.
        maps: seconds of it that building maps takes.
        memory: bytes of tensors at most on the largest scan: weights, batch, and a pass.
        macs: multiply-adds of a pass, mean of the scans; exact.
        parameters: of the network.
    """

    latency: float
    maps: float
    memory: int
    macs: int
    parameters: int


@dataclass(frozen=True)
class Timing:
    """Medians of seconds of passes that took turns.

    Attributes:
        network: with maps to be built.
        kept_maps: with maps that are there.
        reference: of the other network, with maps to be built.
    """

    network: float
    kept_maps: float
    reference: float


class Meter:
    """Measures networks on fixed scans, with batch size 1.

    Passes take turns with those of a reference network, whose time says how fast the device is at
    the moment: others work on it too, and it warms up.

    Args:
        scans: on the CPU, one scene each.
        device: where networks run.
        reference: left as it is.
        warmup: turns before the clock starts.
        runs: timed turns, through the scans in order.

    Raises:
        ValueError: no scans, a scan without voxels, or no turns.
    """

    def __init__(
        self,
        scans: Sequence[Batch],
        device: torch.device,
        reference: nn.Module,
        warmup: int = 10,
        runs: int = 50,
    ) -> None:
        if not scans or not all(len(scan.voxels.coords) for scan in scans):
            raise ValueError(f"costs need scans with voxels; got {len(scans)} scans")
        if warmup < 1 or runs < 1:
            raise ValueError(f"warmup and runs must be at least 1; got {warmup} and {runs}")
        self.scans, self.device, self.warmup, self.runs = scans, device, warmup, runs
        self.num_voxels = [len(scan.voxels.coords) for scan in scans]
        self._makers = [maker(scan, device) for scan in scans]
        self._reference = reference.to(device).eval()

    def cost(self, network: nn.Module, usual: float | None = None) -> ArchCost:
        """Measure a network, which is on the device and left as it is.

        Args:
            network: to measure.
            usual: seconds that the reference takes when the device is as it usually is; times are
                scaled to that. None: as they are.
        """
        largest = self._makers[self.num_voxels.index(max(self.num_voxels))]
        with evaluating(network), torch.no_grad():
            timing = self.time(network)
            macs = [
                sum(multiply_adds(network, lambda: network(batch)).values())  # noqa: B023
                for batch in (make() for make in self._makers)
            ]
            _, memory = need(network, largest, training=False)
        scale = 1.0 if usual is None else usual / timing.reference
        return ArchCost(
            latency=timing.network * scale,
            maps=max(0.0, timing.network - timing.kept_maps) * scale,
            memory=memory,
            macs=round(mean(macs)),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
        )

    @torch.no_grad()
    def time(self, network: nn.Module) -> Timing:
        """Time a network in evaluation."""
        clock = Clock(self.device)

        def seconds(run: Callable[[Batch], object], batch: Batch) -> float:
            clock.wait()
            begin = clock.now()
            run(batch)
            end = clock.now()
            clock.wait()
            return clock.seconds(begin, end)

        turns = []
        for turn in range(self.warmup + self.runs):
            make = self._makers[turn % len(self._makers)]
            batch = make()
            reference = seconds(self._reference, make())
            turns.append((seconds(network, batch), seconds(network, batch), reference))
        return Timing(*(median(column) for column in zip(*turns[self.warmup :], strict=True)))


class MeasuredCosts:
    """Costs of the networks of a supernet, each measured once on a device.

    Args:
        supernet: on the CPU or the device.
        meter: its reference is to be the smallest network of the supernet.
        records: where costs are kept.
    """

    def __init__(self, supernet: SharedNetworks, meter: Meter, records: Records) -> None:
        self.supernet, self.meter, self.records = supernet, meter, records

    def of(self, arch: ArchSpec) -> ArchCost:
        """Of an architecture; measured if there is no record."""
        found = self.records.get(arch)
        if found is None:
            smallest = self.supernet.space.smallest
            usual = None if arch == smallest else self.of(smallest).latency
            network = self.supernet.extract(arch).to(self.meter.device)
            found = asdict(self.meter.cost(network, usual))
            self.records.put(arch, found)
        return ArchCost(**{key: value for key, value in found.items() if key != "arch"})


def cost_facts(
    supernet: SharedNetworks, scans: Sequence[Batch], device: torch.device
) -> dict[str, Any]:
    """What measured costs hold for: device, versions, networks and scans, as plain values."""
    known = environment()
    where = known["processor"]
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    digest = hashlib.sha256()
    for scan in scans:
        digest.update(scan.voxels.coords.indices.numpy().tobytes())
    return {
        "device": where,
        "threads": known["num_threads"] if device.type == "cpu" else None,
        "torch": known["packages"]["torch"],
        "code": code_version(),
        "space": supernet.space.plain(),
        "in_channels": supernet.in_channels,
        "num_classes": supernet.num_classes,
        "scans": len(scans),
        "voxels": sum(len(scan.voxels.coords) for scan in scans),
        "voxels_digest": digest.hexdigest()[:16],
    }


def where(facts: Mapping[str, Any]) -> str:
    """The device of `cost_facts`, for people."""
    threads = facts["threads"]
    if threads is None:
        return str(facts["device"])
    return f"{facts['device']}, {threads} thread{'' if threads == 1 else 's'}"
