"""One run folder for all processes of a run, however they were launched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only
from torch.distributed import TCPStore

RUN_DIR = "PC3D_RUN_DIR"
DATA_DIR = "PC3D_DATA"
_STORE_KEY = "pc3d/run_dir"


def prepare_environment(overrides: Sequence[str], folder: str, run_dir: Path | None = None) -> None:
    """Decide the run folder and the data folder once; child processes inherit both.

    Lightning's own launcher passes the environment on. Under torchrun each process would make up a
    time stamp of its own, so rank 0 decides and tells the others through torchrun's store; under
    Slurm the job id names the folder.

    Args:
        overrides: command line, to tell a sweep from a run.
        folder: where new run folders go, e.g. `"logs/train"`.
        run_dir: an existing run folder to use.

    Raises:
        RuntimeError: several processes that share nothing to agree through.
    """
    os.environ.setdefault(DATA_DIR, str(Path.cwd() / "data"))
    if run_dir is not None:
        os.environ[RUN_DIR] = str(run_dir.resolve())
    elif RUN_DIR not in os.environ:
        sweep = any(argument in ("-m", "--multirun") for argument in overrides)
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path = Path.cwd() / folder / ("sweeps" if sweep else "runs") / stamp
        os.environ[RUN_DIR] = _agree(path)


def _agree(path: Path) -> str:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=60),
        )
        if os.environ["RANK"] == "0":
            store.set(_STORE_KEY, str(path))
        return store.get(_STORE_KEY).decode()
    if "SLURM_JOB_ID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return str(path.parent / f"slurm_{os.environ['SLURM_JOB_ID']}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ:
        raise RuntimeError(
            f"{os.environ['WORLD_SIZE']} processes were launched in a way pc3d does not know, and "
            f"each would write to a folder of its own. Set {RUN_DIR} to one folder for all of them."
        )
    return str(path)


def refuse_distributed_sweep(is_sweep: bool, num_processes: int) -> None:
    """Refuse `-m` with several processes per job.

    Lightning restarts the whole command for every further process, which would run the sweep again.

    Raises:
        RuntimeError: names the way that works.
    """
    if is_sweep and num_processes > 1:
        raise RuntimeError(
            f"a sweep (-m) cannot have {num_processes} processes per job: each would start the "
            "sweep again. Use one process per job, or start the jobs one by one from a shell loop."
        )


def is_rank_zero() -> bool:
    """Whether this process is the one that writes shared files."""
    return getattr(rank_zero_only, "rank", 0) == 0
