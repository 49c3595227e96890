"""Time by scope: the clock is read wherever a scope begins or ends, forward and backward."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pc3d.profiling.scopes import OUTSIDE, Scope, scopes

Seconds = dict[Scope, float]


class Lap(NamedTuple):
    """A stretch of time that one scope was at work.

    Attributes:
        begin, end: moments of `Clock`.
        scope: what was at work.
        node: number of the next node of the autograd graph: a node of this lap has a smaller one.
    """

    begin: Any
    end: Any
    scope: Scope
    node: int


class Clock:
    """The clock of a device: of the process on a CPU, of the stream on a GPU, without waiting."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"

    def now(self) -> Any:
        """A moment."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """From one moment to another; on a GPU both must have come."""
        return 1e-3 * float(begin.elapsed_time(end)) if self.on_gpu else end - begin

    def wait(self) -> None:
        """Until the device has done all that it was told to."""
        if self.on_gpu:
            torch.cuda.synchronize()


class Laps:
    """Laps of one forward pass, and of the backward pass through the graph that it made.

    Every moment belongs to one scope, the innermost, so that the laps add up to the whole. What
    keeping the laps takes, between two of them, belongs to none.

    Args:
        clock: of the device that the network is on.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.laps: list[Lap] = []
        self._backward: list[tuple[Any, Scope]] = []
        self._stack = [OUTSIDE]
        self._begin: Any = None

    @contextmanager
    def forward(self, network: nn.Module | None) -> Iterator[None]:
        """The block runs the network, and what follows on it; None: nothing is told apart."""

        def enter(scope: Scope) -> None:
            self._end_lap()
            self._stack.append(scope)
            self._begin = self.clock.now()

        def leave() -> None:
            self._end_lap()
            self._stack.pop()
            self._begin = self.clock.now()

        with nullcontext() if network is None else scopes(network, enter, leave):
            self._begin = self.clock.now()
            yield
            self._end_lap()

    def backward(self, loss: Tensor, network: nn.Module | None) -> None:
        """`loss.backward()`; None: nothing is told apart.

        A node of the graph belongs to the scope that made it.
        """
        handles = []
        if network is not None:
            # Nodes run from the latest to the earliest. Only the last of those of a scope that
            # follow each other is watched: torch copies gradients that somebody looks at. Sums of
            # weights' gradients run in between, where they are made.
            nodes = [node for node in graph_of(loss) if not hasattr(node, "variable")]
            nodes.sort(key=lambda node: -node._sequence_nr())
            of_nodes = [self._scope_of(node) for node in nodes]
            following = [*of_nodes[1:], None]
            for node, scope, next_scope in zip(nodes, of_nodes, following, strict=True):
                if scope != next_scope:
                    handles.append(node.register_hook(self._reached(scope)))
        self._backward = [(self.clock.now(), OUTSIDE)]
        try:
            loss.backward()  # type: ignore[no-untyped-call]
            self._backward.append((self.clock.now(), OUTSIDE))
        finally:
            for handle in handles:
                handle.remove()

    def forward_seconds(self) -> Seconds:
        """Of every scope that was at work, without those within it."""
        return self._by_scope((lap.begin, lap.end, lap.scope) for lap in self.laps)

    def backward_seconds(self) -> Seconds:
        """Likewise of the way back; maps have no part in it."""
        laps = pairwise(self._backward)
        return self._by_scope((begin, end, scope) for (begin, _), (end, scope) in laps)

    def _scope_of(self, node: Any) -> Scope:
        """The scope in whose lap a node of the graph was made."""
        index = bisect_right(self.laps, node._sequence_nr(), key=lambda lap: lap.node)
        return self.laps[index].scope if index < len(self.laps) else OUTSIDE

    def _end_lap(self) -> None:
        end = self.clock.now()
        number = torch.autograd._get_sequence_nr()
        self.laps.append(Lap(self._begin, end, self._stack[-1], number))

    def _reached(self, scope: Scope) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._backward.append((self.clock.now(), scope))

        return hook

    def _by_scope(self, laps: Iterable[tuple[Any, Any, Scope]]) -> Seconds:
        self.clock.wait()
        found: Seconds = {}
        for begin, end, scope in laps:
            found[scope] = found.get(scope, 0.0) + self.clock.seconds(begin, end)
        return found


def graph_of(loss: Tensor) -> Iterator[Any]:
    """Every node of the autograd graph behind a tensor, once."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [next_node for next_node, _ in node.next_functions]
