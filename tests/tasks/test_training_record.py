"""`training.json`: what a training took, whatever became of it."""

from __future__ import annotations

import json
from mmap import PAGESIZE, mmap
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from pc3d.tasks import training_record
from pc3d.tasks.training_record import TrainingRecord
from pc3d.utils import peak_memory
from pc3d.utils.peak_memory import PeakMemory, peak_mib
from pc3d.utils.run_folder import TRAINING, read_training


class Line(pl.LightningModule):
    """Two weights; fails in an epoch if it is told to."""

    def __init__(self, fails: BaseException | None = None, epoch: int = 1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fails, self.epoch = fails, epoch

    def training_step(self, batch, index):
        if self.fails is not None and self.current_epoch == self.epoch and index == 1:
            raise self.fails
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Train in `tmp_path`, three batches an epoch; an epoch takes a second more than the last."""
    now = iter(x * (x + 1) / 2 for x in range(1000))
    clock = SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr(training_record, "time", clock)

    def run(module: Line, epochs: int, resume: bool = False) -> dict:
        last = pl.callbacks.ModelCheckpoint(
            tmp_path / "checkpoints",
            filename="last",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=[TrainingRecord(tmp_path), last],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        data = DataLoader(torch.ones(3, 1), batch_size=1)
        path = tmp_path / "checkpoints" / "last.ckpt" if resume else None
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
        return read_training(tmp_path)

    return run


def test_a_training_that_ends(fit):
    record = fit(Line(), 3)
    assert record["state"] == "finished" and record["error"] is None
    assert (record["epochs"], record["max_epochs"], record["steps"]) == (3, 3, 9)
    assert record["epoch_seconds"] == [1.0, 2.0, 3.0] and record["sessions"] == 1
    assert 100 < record["memory_mib"] <= peak_mib() and record["gpu_memory_mib"] is None
    assert record["device"] == "cpu" and record["processes"] == 1


def test_a_training_that_fails(fit, tmp_path):
    with pytest.raises(ValueError, match="no room"):
        fit(Line(ValueError("no room\nat all")), 3)
    record = read_training(tmp_path)
    assert (record["state"], record["error"]) == ("failed", "no room")
    assert record["epoch_seconds"] == [1.0] and record["epochs"] == 1


def test_a_training_that_is_interrupted(fit, tmp_path):
    with pytest.raises(SystemExit):
        fit(Line(KeyboardInterrupt()), 3)
    assert read_training(tmp_path)["state"] == "interrupted"


def test_a_training_that_is_killed(fit, tmp_path, monkeypatch):
    """Nothing is written at the end; the last epoch is there."""
    monkeypatch.setattr(TrainingRecord, "on_exception", lambda *_: None)
    with pytest.raises(ValueError, match="killed"):
        fit(Line(ValueError("killed"), epoch=2), 4)
    record = read_training(tmp_path)
    assert (record["state"], record["epochs"], record["steps"]) == ("unfinished", 2, 6)


def test_a_continued_training_keeps_the_epochs_that_are_in_its_weights(fit, tmp_path):
    with pytest.raises(ValueError, match="killed"):
        fit(Line(ValueError("killed"), epoch=2), 4)
    # Killed after the record of an epoch was written, and before its checkpoint was.
    before = read_training(tmp_path)
    before["epoch_seconds"].append(99.0)
    before["memory_mib"] = 1e9
    (tmp_path / TRAINING).write_text(json.dumps(before))
    record = fit(Line(), 4, resume=True)
    assert record["state"] == "finished" and record["error"] is None
    assert record["epoch_seconds"][:2] == [1.0, 2.0] and len(record["epoch_seconds"]) == 4
    assert 99.0 not in record["epoch_seconds"] and record["sessions"] == 2
    assert record["memory_mib"] == 1e9


@pytest.mark.parametrize("text", [None, "{half"])
def test_epochs_that_nobody_recorded_are_unknown(fit, tmp_path, text, caplog):
    fit(Line(), 2)
    (tmp_path / TRAINING).unlink()
    if text is not None:
        (tmp_path / TRAINING).write_text(text)
    record = fit(Line(), 3, resume=True)
    assert record["epoch_seconds"][:2] == [None, None] and record["epoch_seconds"][2] > 0
    assert ("is lost" in caplog.text) == (text is not None)


def test_nothing_to_do_changes_nothing(fit):
    before = fit(Line(), 2)
    assert fit(Line(), 2, resume=True) == before


def test_a_failure_before_the_first_step_keeps_what_is_there(fit, tmp_path, monkeypatch):
    before = fit(Line(), 2)
    monkeypatch.setattr(Line, "configure_optimizers", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(Line(), 3, resume=True)
    after = read_training(tmp_path)
    assert after == {**before, "state": "failed", "error": "division by zero"}


def touched(mib: int) -> mmap:
    """Memory that goes back when it is closed, whatever malloc was told to keep."""
    block = mmap(-1, mib * 2**20)
    for start in range(0, len(block), PAGESIZE):
        block[start] = 1
    return block


def test_the_peak_is_of_now():
    """Memory that was freed before does not count where the system lets a process forget it."""
    block = touched(240)
    high = peak_mib()
    block.close()
    peak = PeakMemory()
    found = peak.mib()
    assert found is None or found < high - 100
    block = touched(240)
    found = peak.mib()
    assert found is not None and found > high - 100
    block.close()


def test_a_peak_of_before_is_not_told_as_one_of_now(monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError))
    peaks = iter([500.0, 500.0, 600.0])
    monkeypatch.setattr(peak_memory, "peak_mib", lambda: next(peaks))
    peak = PeakMemory()
    assert peak.mib() is None and peak.mib() == 600.0
