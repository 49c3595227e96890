"""A progress bar over work that processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
Value = TypeVar("Value")

_FUNCTION: list[Callable[[Any], Any]] = []
"""Of a worker process: sent once, since the tables that readers hold may be large."""


def parallel_map(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    num_workers: int,
    description: str,
    start: Literal["spawn", "fork"] = "spawn",
) -> Iterator[Value]:
    """The results of a function, in the order of its arguments.

    Args:
        function: can be pickled.
        items: its arguments.
        num_workers: processes; 0 works in this one.
        description: stands before the progress bar.
        start: how processes start. A forked one starts faster, and inherits the locks of the
            threads that this one may run: for functions of NumPy only.
    """

    def shown(results: Iterator[Value]) -> Iterator[Value]:
        console = Console(stderr=True)
        yield from track(results, description, len(items), console=console, transient=True)

    if num_workers == 0:
        yield from shown(map(function, items))
        return
    pool = ProcessPoolExecutor(
        num_workers, mp_context=get_context(start), initializer=_keep, initargs=(function,)
    )
    try:
        yield from shown(pool.map(_call, items, chunksize=8))
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(function: Callable[[Any], Any]) -> None:
    _FUNCTION.append(function)


def _call(item: Any) -> Any:
    return _FUNCTION[0](item)
