"""Where the time of loading a scene goes: the parts of a loader, each with a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from pc3d.data.datasets.base import SceneDataset, SceneReader


class Clock:
    """Adds up the time of stages by name; a stage within another counts for both."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Count the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, counted."""

        def run(*arguments: Any) -> Any:
            with self.running(stage):
                return call(*arguments)

        return run


class _TimedReader:
    def __init__(self, reader: SceneReader, clock: Clock) -> None:
        self._reader = reader
        self.read = clock.timed("read", reader.read)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def clocked(loader: DataLoader) -> Clock:
    """Put a clock on the parts of a loader that has no workers; the loader is changed.

    Stages are `read`, every transform by its class, `voxelize`, `crop` and `collate`.
    """
    dataset, clock = loader.dataset, Clock()
    assert isinstance(dataset, SceneDataset) and loader.num_workers == 0
    dataset.reader = _TimedReader(dataset.reader, clock)
    dataset.transforms = tuple(clock.timed(type(t).__name__, t) for t in dataset.transforms)
    dataset.voxelize = clock.timed("voxelize", dataset.voxelize)
    if dataset.crop is not None:
        dataset.crop = clock.timed("crop", dataset.crop)
    loader.collate_fn = clock.timed("collate", loader.collate_fn)
    return clock
