"""A progress bar over work that processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
Value = TypeVar("Value")


def parallel_map(
    function: Callable[[Item], Value], items: Sequence[Item], num_workers: int, description: str
) -> Iterator[Value]:
    """The results of a function, in the order of its arguments.

    Args:
        function: can be pickled.
        items: its arguments.
        num_workers: processes; 0 works in this one.
        description: stands before the progress bar.
    """

    def shown(results: Iterator[Value]) -> Iterator[Value]:
        console = Console(stderr=True)
        yield from track(results, description, len(items), console=console, transient=True)

    if num_workers == 0:
        yield from shown(map(function, items))
        return
    # A forked child would inherit the locks of the threads that the parent may run.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        yield from shown(pool.map(function, items, chunksize=8))
