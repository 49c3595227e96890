"""Memory by scope: every block that the allocator gave, who asked for it and when it was freed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from pc3d.profiling.scopes import OUTSIDE, Scope, scopes

Bytes = dict[Scope, int]
_PREFIX = "pc3d scope "
_FORWARD = "pc3d forward"


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a pass needs beside what is there before it.

    Attributes:
        peak: at most, at one moment.
        at_peak: of every scope that asked for a part of it; blocks that the way back asked for
            belong to `OUTSIDE`.
        held: of every scope, at the end of the forward pass: what is kept for the way back, the
            maps that the batch remembers, and the result.
    """

    peak: int
    at_peak: Bytes
    held: Bytes


class Block(NamedTuple):
    """A block of memory that is given, or taken back.

    Attributes:
        moment: nanoseconds.
        address: of the block.
        size: bytes; negative: it is taken back.
        scope: who asked for it.
    """

    moment: int
    address: int
    size: int
    scope: Scope


def memory_of(
    network: nn.Module, forward: Callable[[], Any], then: Callable[[Any], object] | None = None
) -> MemoryUse:
    """Run once and account for all memory of the network's device.

    Args:
        network: whose scopes are told apart.
        forward: the forward pass.
        then: what is done with its result, such as a loss and the way back.
    """
    device = next(network.parameters()).device
    names: list[Scope] = []
    ranges: list[record_function] = []

    def enter(scope: Scope) -> None:
        names.append(scope)
        ranges.append(record_function(f"{_PREFIX}{len(names) - 1}"))
        ranges[-1].__enter__()

    def leave() -> None:
        ranges.pop().__exit__(None, None, None)

    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, profile_memory=True) as profiler:
        with record_function(_FORWARD), scopes(network, enter, leave):
            result = forward()
        if then is not None:
            then(result)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    tree = profiler.profiler.kineto_results.experimental_event_tree()
    events = sorted(_walk(tree), key=lambda event: event.start_time_ns)
    forward_end = next(event.end_time_ns for event in events if event.name == _FORWARD)
    return _account(list(_blocks(events, names, device.type)), forward_end)


def _walk(events: Iterable[Any]) -> Iterator[Any]:
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        yield event
        waiting += event.children


def _blocks(events: Iterable[Any], names: list[Scope], device: str) -> Iterator[Block]:
    for event in events:
        if event.tag.name != "Allocation" or event.extra_fields.device.type != device:
            continue
        scope, parent = OUTSIDE, event.parent
        while parent is not None and scope is OUTSIDE:
            if parent.name.startswith(_PREFIX):
                scope = names[int(parent.name.removeprefix(_PREFIX))]
            parent = parent.parent
        fields = event.extra_fields
        yield Block(event.start_time_ns, fields.ptr, fields.alloc_size, scope)


def _account(blocks: Sequence[Block], forward_end: int) -> MemoryUse:
    """Play the blocks in order; those that were there before the pass are left out."""
    sizes: dict[int, int] = {}
    total = peak = peak_index = 0
    for index, block in enumerate(blocks):
        if block.size < 0:
            total -= sizes.pop(block.address, 0)
        else:
            sizes[block.address] = block.size
            total += block.size
        if total > peak:
            peak, peak_index = total, index
    at_end = [block for block in blocks if block.moment <= forward_end]
    return MemoryUse(peak, _live(blocks[: peak_index + 1]), _live(at_end))


def _live(blocks: Iterable[Block]) -> Bytes:
    """By scope, what has been given and not taken back."""
    live: dict[int, Block] = {}
    for block in blocks:
        if block.size < 0:
            live.pop(block.address, None)
        else:
            live[block.address] = block
    found: Bytes = {}
    for block in live.values():
        found[block.scope] = found.get(block.scope, 0) + block.size
    return found
