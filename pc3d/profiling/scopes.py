"""Which part of a network is at work: its modules, and within them the building of maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, NamedTuple
from unittest import mock

from torch import nn

from pc3d.sparse import CoordSet, PointSet, PointVoxelMap

BUILDERS: tuple[tuple[type, str], ...] = (
    (CoordSet, "neighbors"),
    (CoordSet, "down"),
    (PointSet, "down"),
    (PointSet, "neighbors"),
    (PointSet, "neighbors_in"),
    (PointSet, "interpolation"),
    (PointVoxelMap, "_around"),
)
"""What finds neighbours, coarser sets and ways between points and voxels, or remembers them."""


class Scope(NamedTuple):
    """A part of a network.

    Attributes:
        module: its name within the network, the empty string for the network itself; None: what
            lies outside, such as a loss.
        maps: whether it builds maps for that module, instead of running it.
    """

    module: str | None
    maps: bool = False


OUTSIDE = Scope(None)


@contextmanager
def scopes(
    network: nn.Module, enter: Callable[[Scope], object], leave: Callable[[], object]
) -> Iterator[None]:
    """Within the block, `enter` and `leave` are called around every scope; they nest.

    Maps belong to the module that asks for them first.
    """
    stack = [OUTSIDE]

    def begin(scope: Scope) -> None:
        stack.append(scope)
        enter(scope)

    def begin_maps() -> None:
        begin(stack[-1]._replace(maps=True))

    def end() -> None:
        stack.pop()
        leave()

    with ExitStack() as cleanup:
        for name, module in network.named_modules():
            run = _around(module.forward, partial(begin, Scope(name)), end)
            cleanup.enter_context(mock.patch.object(module, "forward", run))  # cheaper than hooks
        for owner, name in BUILDERS:
            run = _around(getattr(owner, name), begin_maps, end)
            cleanup.enter_context(mock.patch.object(owner, name, run))
        yield


def _around(
    run: Callable[..., Any], begin: Callable[[], None], end: Callable[[], None]
) -> Callable[..., Any]:
    @wraps(run)
    def surrounded(*args: Any, **kwargs: Any) -> Any:
        begin()
        try:
            return run(*args, **kwargs)
        finally:
            end()

    return surrounded
