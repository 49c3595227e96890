"""Lightning callbacks of our own: a line per epoch, reproducible epochs, a guard, predictions."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info

from pc3d.data.view_dataset import ViewBatch
from pc3d.tasks.scene_store import SceneStore
from pc3d.tasks.segmentation import SceneResult

log = logging.getLogger(__name__)


class EpochLine(pl.Callback):
    """Logs one line per epoch, which stays readable in a file where a progress bar does not."""

    def __init__(self) -> None:
        self._start = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        shown = ("train/loss_epoch", "val/miou_point", "val/miou_voxel", "val/oa")
        metrics = trainer.callback_metrics
        values = [f"{key} {float(metrics[key]):.4f}" for key in shown if key in metrics]
        elapsed = time.monotonic() - self._start
        rank_zero_info(f"epoch {trainer.current_epoch}  {'  '.join(values)}  ({elapsed:.1f} s)")


class EpochSeed(pl.Callback):
    """Seeds torch at the start of every epoch by (seed, epoch, rank).

    A resumed run then draws the same dropout masks as one that was never interrupted.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        key = [self.seed, trainer.current_epoch, trainer.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


class StopOnNonFinite(pl.Callback):
    """Stops at the end of an epoch whose loss is not finite, before anything is saved."""

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("train/loss_epoch", 0.0))
        if not math.isfinite(loss):
            raise ValueError(
                f"train/loss is {loss} in epoch {trainer.current_epoch}; last.ckpt is of the epoch "
                "before. Lower optimizer.lr, set trainer.gradient_clip_val=1, or use "
                "trainer.precision=32-true."
            )


class PredictionWriter(pl.Callback):
    """Keeps the classes and counts of every test scene as soon as its last view is seen."""

    def __init__(self, store: SceneStore) -> None:
        self.store = store

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        task: pl.LightningModule,
        outputs: SceneResult | Any,
        batch: ViewBatch,
        batch_index: int,
        dataloader_index: int = 0,
    ) -> None:
        if outputs is not None:
            self.store.save(outputs.scene, outputs.classes.cpu().numpy(), outputs.counts)
