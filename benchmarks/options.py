"""Arguments `key=value` of the benchmark programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from benchmarks.clouds import DEFAULT_POINTS, WORKLOADS
from cuda_ops.check.devices import device_of
from cuda_ops.runtime import supported_isas

COMMON: Mapping[str, str] = MappingProxyType(
    {
        "device": "cpu",
        "workloads": ",".join(WORKLOADS),
        "threads": "1,2",
        "points": str(DEFAULT_POINTS),
        "warmup": "2",
        "runs": "7",
        "contestants": "",
        "copy_mib": "256",
        "out": "",
    }
)
"""Keys of every program with their defaults; lists are separated by commas."""
OURS = ("kernels", "reference")
CONTESTANTS = {"cpu": (*OURS, "spconv", "numba"), "cuda": (*OURS, "spconv-triton")}
"""By the type of the device."""


@dataclass(frozen=True)
class Options:
    """What every program is told.

    Attributes:
        device: where everything runs.
        workloads: names from `benchmarks.clouds.WORKLOADS`.
        threads: numbers of threads to measure with; 1 on a GPU.
        points: size of the workloads, about their number of voxels.
        warmup: runs before the clock starts.
        runs: timed runs of each contestant.
        contestants: `"kernels"`, `"reference"`; on a CPU an instruction set, `"spconv"`,
            `"numba"`; on a GPU `"spconv-triton"`.
        copy_mib: size of the stream copy in MiB.
        out: files to write, `.json` or `.md`.
    """

    device: torch.device
    workloads: tuple[str, ...]
    threads: tuple[int, ...]
    points: int
    warmup: int
    runs: int
    contestants: tuple[str, ...]
    copy_mib: int
    out: tuple[Path, ...]


def parse(
    arguments: Sequence[str], further: Mapping[str, str]
) -> tuple[Options, Mapping[str, str]]:
    """The options of a command line.

    Args:
        arguments: `key=value`, as they came from the shell.
        further: the program's own keys with their defaults.

    Returns:
        The common options, and the values of the further keys.

    Raises:
        ValueError: an unknown key, workload or contestant, a device that is not here, a number that
            is none, a file that is neither `.json` nor `.md`.
    """
    values = values_of(arguments, {**COMMON, **further})
    device = device_of(values["device"])
    known = CONTESTANTS[device.type]
    threads = "1" if device.type == "cuda" else values["threads"]
    options = Options(
        device=device,
        workloads=parse_names("workloads", values["workloads"], tuple(WORKLOADS)),
        threads=tuple(count("threads", number) for number in threads.split(",")),
        points=count("points", values["points"]),
        warmup=count("warmup", values["warmup"]),
        runs=count("runs", values["runs"]),
        contestants=parse_names(
            "contestants",
            values["contestants"] or ",".join(known),
            (*known, *supported_isas()) if device.type == "cpu" else known,
        ),
        copy_mib=count("copy_mib", values["copy_mib"]),
        out=tuple(Path(name) for name in values["out"].split(",") if name),
    )
    for path in options.out:
        if path.suffix not in (".json", ".md"):
            raise ValueError(f"out must name .json or .md files; got {path}")
    return options, {key: values[key] for key in further}


def values_of(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The value of every key, of the command line or by default.

    Raises:
        ValueError: an argument that is not `key=value`, or an unknown key.
    """
    values = dict(defaults)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in values:
            raise ValueError(f"got {argument!r}; expected key=value with {', '.join(values)}")
        values[key] = value
    return values


def parse_names(key: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The names in a list separated by commas; ValueError if one is not `known`."""
    names = tuple(text.split(","))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{key} must be of {', '.join(known)}; got {', '.join(unknown)}")
    return names


def count(key: str, text: str) -> int:
    """The positive whole number that a text holds; ValueError with the key's name if none."""
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{key} must be positive whole numbers; got {text!r}")
    return int(text)
