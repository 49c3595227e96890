"""What a network costs, module by module: `pc3d profile model=... [dataset=...]`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from cuda_ops.check.devices import device_of
from pc3d.cli.arguments import key_of, quote_paths
from pc3d.cli.build import build_data, build_network
from pc3d.cli.config import compose_config
from pc3d.cli.errors import report_errors
from pc3d.cli.launch import DATA_DIR
from pc3d.cli.options import (
    INTEGER,
    PATH,
    POSITIVE,
    TEXT,
    Kind,
    list_of,
    optional,
    read_options,
)
from pc3d.cli.profile_tables import agreement, table_of_modules, table_of_sweep, tables_of_budget
from pc3d.data.collate import collate
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.datasets.base import SampleKey, SceneDataset
from pc3d.models.api import ordinary
from pc3d.profiling import Profile, profile
from pc3d.profiling.batches import GENERATED, generated_batch, maker
from pc3d.profiling.budget import Trial, largest_scene, need
from pc3d.sparse import Batch
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.environment import environment, git_state
from pc3d.utils.files import write_json
from visualize.profile import write_profile

NATURAL = Kind("a whole number above 0", lambda value: INTEGER.holds(value) and value > 0)
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
KINDS = {
    "scene": TEXT,
    "voxels": NATURAL,
    "precision": Kind(" or ".join(PRECISIONS), lambda value: value in PRECISIONS),
    "device": optional(TEXT),
    "threads": optional(NATURAL),
    "warmup": NATURAL,
    "runs": NATURAL,
    "depth": Kind("a whole number", lambda value: INTEGER.holds(value) and value >= 0),
    "out": optional(PATH),
    "sweep": optional(TEXT),
    "values": list_of(Kind("any value", lambda value: value is not None)),
    "budget": optional(POSITIVE),
}
"""What the keys of `conf/profile.yaml` may hold."""
WRITERS = {".json": write_json, ".html": write_profile}
WIDTH = 140  # columns where the console is a file
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is profiled: the configuration, with what a sweep changes, and the options."""

    arguments: Sequence[str]
    options: DictConfig
    device: torch.device
    channels: float = 1.0

    def measured(self, voxels: int) -> Profile:
        """The profile on a scene; of a generated one, of about so many voxels."""
        network, data = self.network()
        make = maker(self.batch(data, voxels), self.device)
        options = self.options
        autocast = PRECISIONS[options.precision]
        return profile(network, make, warmup=options.warmup, runs=options.runs, autocast=autocast)

    def largest(self, training: bool) -> list[Trial]:
        """Generated scenes that were tried, the largest that fits into the budget last."""
        network, data = self.network()

        def measure(voxels: int) -> tuple[int, int]:
            make = maker(self.batch(data, voxels), self.device)
            return need(network, make, training, PRECISIONS[self.options.precision])

        return largest_scene(measure, int(self.options.budget * 2**30), self.options.voxels)

    def batch(self, data: SegmentationDataModule, voxels: int) -> Batch:
        """The scene on the CPU."""
        name = self.options.scene
        if name in GENERATED:
            return generated_batch(name, voxels, data.in_channels, data.voxelize.voxel_size)
        split, _, scene = name.partition("/")
        if not scene or split not in ("train", "val", "test"):
            raise ValueError(
                f"scene={name}: expected {', '.join(GENERATED)}, or a scene of the data set such "
                "as val/<name>"
            )
        scenes = SceneDataset(data.reader, split, data.augment.eval, data.voxelize, seed=data.seed)
        if scene not in scenes.scenes:
            some = ", ".join(scenes.scenes[:12])
            raise ValueError(f"scene={name}: split {split} has no scene {scene}; it has {some}")
        return collate([scenes[SampleKey(0, scenes.scenes.index(scene))]])

    def network(self) -> tuple[nn.Module, SegmentationDataModule]:
        """The network on the device, and the data that it is for."""
        config = compose_config("config", self.arguments)
        if self.channels != 1:
            _scale(config.model, self.channels)
        data = build_data(config)
        return ordinary(build_network(config, data)).to(self.device), data


def _scale(model: DictConfig, factor: float) -> None:
    """Multiply the widths of a network, to whole eights, which groups and heads divide."""
    for key in ("stem_channels", "widths"):
        if key in model:
            plain = OmegaConf.to_container(OmegaConf.create({key: model[key]}), resolve=True)
            assert isinstance(plain, dict)
            value = plain[key]
            scaled = [max(8, round(factor * w / 8) * 8) for w in _listed(value)]
            model[key] = scaled if isinstance(value, list) else scaled[0]


def _listed(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]


def sweep_of(request: Request) -> list[tuple[Any, Request, int]]:
    """Each value of a sweep, the request that has it, and about how many voxels; all checked.

    Raises:
        ValueError: no values, or one that the network or the scene cannot have.
    """
    options = request.options
    if not options.sweep:
        return []
    values = OmegaConf.to_container(options["values"])
    assert isinstance(values, list)
    if not values:
        raise ValueError(f"sweep={options.sweep} needs values=[...]")
    steps = []
    for value in values:
        voxels, varied = options.voxels, request
        if options.sweep == "voxels":
            if not NATURAL.holds(value) or options.scene not in GENERATED:
                raise ValueError(f"sweep=voxels takes whole numbers, and generated scenes: {value}")
            voxels = value
        elif options.sweep == "channels":
            if not POSITIVE.holds(value):
                raise ValueError(f"sweep=channels takes factors above 0; got {value}")
            varied = replace(request, channels=float(value))
        else:
            text = str(value).replace(" ", "").replace("'", "")
            varied = replace(request, arguments=[*request.arguments, f"{options.sweep}={text}"])
        varied.network()
        steps.append((value, varied, voxels))
    return steps


def run(arguments: Sequence[str]) -> None:
    """Profile, show and write what the command line asks for."""
    own = [a for a in arguments if key_of(a) in KINDS or a in ("-h", "--help")]
    options = read_options("profile", own, KINDS)
    writers = _writers(options.out)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes when it starts and stops
    os.environ.setdefault(DATA_DIR, str(Path.cwd() / "data"))
    given = quote_paths([a for a in arguments if a not in own])
    keep_freed_memory()
    device = device_of(options.device or "")
    if options.threads:
        torch.set_num_threads(options.threads)
    request = Request(given, options, device)
    steps = sweep_of(request)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    found = request.measured(options.voxels)
    name = next((a.partition("=")[2] for a in given if key_of(a) == "model"), "the default model")
    title = (
        f"{name}: {found.num_voxels:,} voxels, {found.num_points:,} points ({options.scene}), "
        f"{options.precision}, {_where(device)}"
    )
    console.print(table_of_modules(found, options.depth, title))
    console.print(agreement(found), soft_wrap=True)
    swept = []
    for value, varied, voxels in steps:
        swept.append((value, varied.measured(voxels)))
        log.info("%s=%s done", options.sweep, value)
    if swept:
        console.print(table_of_sweep(options.sweep, swept))
    budget = {}
    if options.budget:
        budget = {kind: request.largest(kind == "training") for kind in ("inference", "training")}
        console.print(tables_of_budget(options.budget, budget))
    state = git_state(Path(__file__).parent)
    report = {
        "title": title,
        "facts": environment() | {"commit": None if state is None else state["commit"]},
        "overrides": list(given),
        "options": OmegaConf.to_container(options),
        **as_plain(found),
        "sweep": [{"value": value, **as_plain(row)} for value, row in swept],
        "budget": {kind: [asdict(trial) for trial in trials] for kind, trials in budget.items()},
    }
    for path, write in writers:
        write(path, report)
        console.print(f"written: {path}", soft_wrap=True)


def as_plain(found: Profile) -> dict[str, Any]:
    """A profile as plain values: seconds, bytes, multiply-adds; modules without those within."""
    return {
        "num_voxels": found.num_voxels,
        "num_points": found.num_points,
        "totals": asdict(found.totals),
        "parts": asdict(found.parts),
        "modules": [
            {"name": name, "kind": found.kinds[name], **asdict(cost)}
            for name, cost in found.modules.items()
        ],
        "outside": asdict(found.outside),
    }


def _where(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{environment()['processor']}, {threads} thread{'' if threads == 1 else 's'}"


def _writers(out: str | None) -> list[tuple[Path, Any]]:
    paths = [Path(name.strip()).expanduser() for name in (out or "").split(",") if name.strip()]
    for path in paths:
        if path.suffix not in WRITERS:
            raise ValueError(f"out={path} must end in {' or '.join(WRITERS)}")
    return [(path, WRITERS[path.suffix]) for path in paths]


@report_errors
def main() -> None:
    """The program; keys of conf/profile.yaml are its own, others choose the network."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(sys.argv[1:])


if __name__ == "__main__":
    main()
