"""How long the networks of the accuracy comparison take for a training step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from hydra.utils import instantiate
from torch.optim import Optimizer

from benchmarks.measure import using_threads
from pc3d.cli.build import build_data, build_task
from pc3d.cli.config import compose_config
from pc3d.sparse import Batch, CoordSet, SparseTensor
from pc3d.tasks import SegmentationTask

WARMUP = 2  # batches


def step_times(overrides: Mapping[str, Sequence[str]], num_batches: int) -> dict[str, float]:
    """Median seconds of a training step: one thread, network after network on the same batches.

    Kernel maps, forward, loss, backward and optimizer; reading and augmenting rooms is left out.

    Args:
        overrides: of the configuration, for every network by name.
        num_batches: timed batches, after two of warm-up.
    """
    steps: dict[str, Callable[[Batch], None]] = {}
    batches: list[Batch] = []
    for name, arguments in overrides.items():
        config = compose_config("config", [*arguments, "num_workers=0"])
        data = build_data(config)
        if not batches:
            data.prepare_data()
            loader = data.train_dataloader()
            batches = [b for b, _ in zip(loader, range(num_batches + WARMUP), strict=False)]
        task = build_task(config, data).train()
        steps[name] = _step(task, instantiate(config.optimizer)(task.parameters()))
    times: dict[str, list[float]] = {name: [] for name in steps}
    with using_threads(1):
        for batch in batches:
            for name, step in steps.items():
                fresh = _without_maps(batch)
                start = time.perf_counter()
                step(fresh)
                times[name].append(time.perf_counter() - start)
    return {name: median(found[WARMUP:]) for name, found in times.items()}


def _without_maps(batch: Batch) -> Batch:
    coords = CoordSet(batch.voxels.coords.indices, batch.voxels.coords.batch_size)
    return dataclasses.replace(batch, voxels=SparseTensor(coords, batch.voxels.feats))


def _step(task: SegmentationTask, optimizer: Optimizer) -> Callable[[Batch], None]:
    def step(batch: Batch) -> None:
        total, _ = task.training_loss(batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step
