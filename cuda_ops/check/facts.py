"""What the numbers of a report were measured on, with, and when."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import cuda_ops

PACKAGES = ("torch", "triton", "spconv-triton", "spconv", "torchsparse")
QUERIES = {
    "driver": "driver_version",
    "graphics clock": "clocks.current.graphics",
    "largest graphics clock": "clocks.max.graphics",
    "memory clock": "clocks.current.memory",
    "power limit": "power.limit",
    "temperature": "temperature.gpu",
}
"""Facts that only `nvidia-smi` knows."""


def facts(device: torch.device) -> dict[str, Any]:
    """Device, versions, commit and date, as plain values."""
    found: dict[str, Any] = {"device": processor(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found = gpu(device)
    versions = {name: version(name) for name in PACKAGES}
    now = datetime.now(timezone.utc)
    return {
        **found,
        **{name: value for name, value in versions.items() if value is not None},
        "python": platform.python_version(),
        "system": platform.platform(),
        "commit": commit(),
        "date": now.isoformat(timespec="minutes"),
    }


def gpu(device: torch.device) -> dict[str, Any]:
    """The graphics processor."""
    properties = torch.cuda.get_device_properties(device)
    known = {
        "device": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "memory GiB": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "CUDA runtime": torch.version.cuda,
    }
    return {**known, **from_nvidia_smi(device.index or 0), "processor": processor()}


def from_nvidia_smi(index: int) -> dict[str, str]:
    """What `nvidia-smi` says of a GPU; nothing where it is not installed."""
    arguments = [f"--query-gpu={','.join(QUERIES.values())}", "--format=csv,noheader"]
    output = output_of("nvidia-smi", f"--id={index}", *arguments)
    values = [] if output is None else output.strip().split(", ")
    # Under CUDA_VISIBLE_DEVICES its numbers are not torch's: all that is said is of equal cards.
    return dict(zip(QUERIES, values, strict=True)) if len(values) == len(QUERIES) else {}


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the checkout that holds the ops, or None outside of one."""
    folder = str(Path(cuda_ops.__file__).parent)
    found = output_of("git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=12")
    return None if found is None else found.strip()


def output_of(*command: str) -> str | None:
    """What a program writes; None if it is not here or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
