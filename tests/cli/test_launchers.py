"""Several processes of one training: started by torchrun, by Lightning, and not by a sweep."""

from __future__ import annotations

import sys

import pytest

from tests.cli.conftest import finish, program
from tests.conftest import TINY


def test_torchrun_shares_one_run_folder(start, tmp_path):
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    quick = ["trainer=ddp_cpu", "trainer.max_epochs=1", "trainer.limit_val_batches=0"]
    finish(start(*launcher, "--master-port", "29541", program("train.py")[1], *TINY, *quick))
    (run,) = (tmp_path / "logs" / "train" / "runs").iterdir()
    assert (run / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_lightning_launcher_shares_one_run_folder(start, tmp_path):
    quick = ["trainer=ddp_cpu", "trainer.max_epochs=1", "trainer.limit_val_batches=0"]
    finish(start(sys.executable, "-m", "pc3d.cli", "train", *TINY, *quick))
    (run,) = (tmp_path / "logs" / "train" / "runs").iterdir()
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_a_sweep_with_two_processes_per_job_is_refused(start):
    process = start(*program("train.py"), "-m", *TINY, "trainer=ddp_cpu", "seed=1,2")
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and "a sweep (-m) cannot have 2 processes" in output
