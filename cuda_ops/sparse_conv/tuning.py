"""Looking for faster tiles than the model's by timing them: only where `PC3D_TUNE=1` asks for it.

What was found is kept in the user's cache, for this GPU, these versions and these kernels. Where
several processes train together nothing is timed, as the others would wait: they use what is in the
cache. Tiles change results by rounding in float32 alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from cuda_ops.runtime import Gpu
from cuda_ops.runtime.cache import CacheRefusedError, candidates, refuse_foreign
from cuda_ops.sparse_conv import config as configs
from cuda_ops.sparse_conv.config import Config

RUNS = 7
_log = logging.getLogger("cuda_ops")


def is_asked_for() -> bool:
    """Whether `PC3D_TUNE=1`."""
    return os.environ.get("PC3D_TUNE") == "1"


def may_time() -> bool:
    """Whether nobody waits for this process and nothing is being captured."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed and not torch.cuda.is_current_stream_capturing()


def chosen(
    gpu: Gpu,
    dtype: torch.dtype,
    sizes: tuple[int, int, int, int],
    model: Config,
    run: Callable[[Config], None],
) -> Config:
    """The configuration to use: the model's, or the fastest that was found by timing.

    Args:
        gpu: where `run` runs.
        dtype: of features.
        sizes: output rows, taps, input and output channels.
        model: what the cost model says.
        run: does the work with a configuration.
    """
    if not is_asked_for():
        return model
    num_out, *rest = sizes
    key = "_".join(map(str, [dtype, num_out.bit_length(), *rest]))
    file = tuning_file(gpu)
    known = load(file)
    if key not in known and may_time():
        itemsize = dtype.itemsize
        options = configs.candidates(gpu.capability, itemsize, *sizes[2:])
        times = {config: time_of(run, config) for config in options}
        best = min(times, key=lambda config: times[config])
        _log.info("tuned %s on %s: %s instead of %s", key, gpu.device, best, model)
        save(file, {**load(file), key: list(best)})
        known = load(file)
    return Config(*known[key]) if key in known else model


def time_of(run: Callable[[Config], None], config: Config) -> float:
    """Median milliseconds of a configuration on the current GPU."""
    times: list[float] = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run(config)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times[2:])


@lru_cache
def tuning_file(gpu: Gpu) -> Path | None:
    """Where results for this GPU and these kernels are kept; None where nothing can be."""
    import triton

    digest = hashlib.sha256(torch.__version__.encode() + triton.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    name = gpu.name.replace(" ", "-")
    for folder in candidates():
        with contextlib.suppress(OSError, CacheRefusedError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_foreign(folder)
            return folder / f"tuning_{name}_{digest.hexdigest()[:16]}.json"
    return None


def load(file: Path | None) -> dict[str, list[int]]:
    """What is known; nothing where the file is missing or damaged."""
    try:
        known = json.loads(file.read_text()) if file else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    wanted = len(Config._fields)
    return {k: v for k, v in known.items() if isinstance(v, list) and len(v) == wanted}


def save(file: Path | None, known: dict[str, list[int]]) -> None:
    """Replace the file; where that cannot be done, the next process finds out again."""
    if file is None:
        return
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        made = Path(scratch) / file.name
        made.write_text(json.dumps(known, indent=1))
        made.replace(file)
