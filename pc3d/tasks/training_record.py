"""What a training took, kept in its run folder: `training.json`."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from pc3d.utils.files import write_json
from pc3d.utils.peak_memory import PeakMemory
from pc3d.utils.run_folder import TRAINING, read_training

log = logging.getLogger(__name__)


class TrainingRecord(pl.Callback):
    """Writes seconds of every epoch, peak memory and the state of a training after every epoch.

    Seconds run from the start of fitting, when the data are prepared, and hold validation and
    checkpoints. A run that is continued keeps the seconds of the epochs that are in its weights:
    what an interrupted epoch took before it was repeated is not among them. Memory is the most
    that any process of the run had, without workers that load data. Epochs that an older pc3d
    trained have no seconds.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / TRAINING
        self._epochs: list[float | None] = []
        self._peaks: dict[str, float | None] = {"memory_mib": None, "gpu_memory_mib": None}
        self._start = 0.0
        self._peak: PeakMemory | None = None
        self._sessions = 1
        self._started = False

    def on_fit_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._start = time.monotonic()
        self._peak = PeakMemory()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Now it is known which epoch comes next."""
        self._started = True
        done = trainer.current_epoch
        before = self._before() if done else None
        if before is not None:
            self._epochs = before["epoch_seconds"][:done]
            self._peaks = {name: before[name] for name in self._peaks}
            self._sessions = before.get("sessions", 1) + 1
        self._epochs += [None] * (done - len(self._epochs))
        self._write(trainer, "unfinished")

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        now = time.monotonic()
        self._epochs = [*self._epochs, now - self._start]
        self._start = now
        assert self._peak is not None
        self._raise_peak(trainer, "memory_mib", self._peak.mib())
        if trainer.strategy.root_device.type == "cuda":
            allocated = torch.cuda.max_memory_allocated(trainer.strategy.root_device)
            self._raise_peak(trainer, "gpu_memory_mib", allocated / 2**20)
        self._write(trainer, "unfinished")

    def on_fit_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._write(trainer, "finished")

    def on_exception(
        self, trainer: pl.Trainer, task: pl.LightningModule, exception: BaseException
    ) -> None:
        interrupted = isinstance(exception, KeyboardInterrupt | SystemExit)
        self._write(trainer, "interrupted" if interrupted else "failed", exception)

    def _before(self) -> dict[str, Any] | None:
        """What an earlier process of the run has recorded."""
        try:
            return read_training(self._path.parent)
        except ValueError as error:
            log.warning("%s; what the epochs before took is lost", error)
            return None

    def _raise_peak(self, trainer: pl.Trainer, name: str, mib: float | None) -> None:
        """Take the most that any process has; all of them must come here."""
        most = torch.tensor(mib or 0.0, device=trainer.strategy.root_device)
        if trainer.world_size > 1:
            most = trainer.strategy.reduce(most, reduce_op="max")
        self._peaks[name] = max(float(most), self._peaks[name] or 0.0) or None

    def _write(
        self, trainer: pl.Trainer, state: str, exception: BaseException | None = None
    ) -> None:
        if not trainer.is_global_zero:
            return
        message = str(exception).strip().splitlines() if exception is not None else []
        now = {"state": state, "error": message[0] if message and state == "failed" else None}
        if not self._started:  # it failed before, or there was nothing left to do
            before = self._before()
            if before is not None:
                write_json(self._path, {**before, **now})
                return
        record: dict[str, Any] = {
            **now,
            "epochs": len(self._epochs),
            "max_epochs": trainer.max_epochs,
            "steps": trainer.global_step,
            "max_steps": trainer.max_steps,
            "epoch_seconds": self._epochs,
            **self._peaks,
            "processes": trainer.world_size,
            "device": trainer.strategy.root_device.type,
            "sessions": self._sessions,
        }
        write_json(self._path, record)
