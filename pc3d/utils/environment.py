"""What a run needs to be repeated: commit, uncommitted diff, versions, machine."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "pc3d",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "torchmetrics",
)


def environment() -> dict[str, Any]:
    """Versions and machine, as plain values for JSON."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "num_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def git_state(folder: Path) -> dict[str, str] | None:
    """Commit and uncommitted diff of the checkout that holds the source, or None outside git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "diff": _git(folder, "diff", "HEAD") or ""}


def code_version() -> str:
    """What marks the code that computes: in a checkout its content, else the version.

    Other commits and uncommitted changes of the same code, such as of documents, change nothing.
    """
    packages = Path(__file__).resolve().parents[2]
    found = [
        _git(packages / name, *arguments)
        for name in ("cuda_ops", "pc3d")
        for arguments in (("rev-parse", "HEAD:./"), ("diff", "HEAD", "--", "."))
    ]
    if None in found:
        return str(package_version("pc3d"))
    return hashlib.sha256("".join(map(str, found)).encode()).hexdigest()[:16]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # git is not installed
        return None
    return result.stdout if result.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
