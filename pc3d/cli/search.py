"""The best network of a supernet for a device: `pc3d search run=... target.latency=20ms`."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from cuda_ops.check.devices import device_of
from pc3d.cli.arguments import key_of, quote_paths
from pc3d.cli.build import build_data
from pc3d.cli.config import layered
from pc3d.cli.errors import report_errors
from pc3d.cli.launch import DATA_DIR
from pc3d.cli.log import quiet_libraries
from pc3d.cli.options import (
    INTEGER,
    PATH,
    POSITIVE,
    TEXT,
    Kind,
    map_of,
    optional,
    read_options,
)
from pc3d.cli.search_report import error_lines, table_of, table_of_best, write_search
from pc3d.data.collate import collate
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.datasets import HoldOut
from pc3d.data.datasets.base import SampleKey, SceneDataset
from pc3d.data.datasets.hold_out import HELD_OUT
from pc3d.models.weights import read_weights
from pc3d.search import SharedNetworks, load_supernet
from pc3d.search.costs import COSTS, MeasuredCosts, Meter, cost_facts, where
from pc3d.search.fitness import Fitness
from pc3d.search.predictors import Level
from pc3d.search.records import Records
from pc3d.search.search import CostModel, Search, measured_sample
from pc3d.search.strategies import Evolution, Nsga2, Strategy
from pc3d.search.subnet import config_of, write_subnet
from pc3d.search.targets import Targets, shown
from pc3d.sparse import Batch, CoordSet, KernelSpec
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.environment import code_version
from pc3d.utils.files import file_hash, write_json
from pc3d.utils.run_folder import checkpoint_path, read_run

STRATEGIES = ("evolution", "nsga2")
_COUNT = Kind("a whole number above 0", lambda value: INTEGER.holds(value) and value > 0)
_NATURAL = Kind("a whole number", lambda value: INTEGER.holds(value) and value >= 0)
KINDS = {
    "run": PATH,
    "ckpt": TEXT,
    "target": map_of(
        TEXT, optional(Kind("a number with a unit", lambda v: not isinstance(v, dict)))
    ),
    "strategy": Kind(" or ".join(STRATEGIES), lambda value: value in STRATEGIES),
    "seed": _NATURAL,
    "evaluations": _COUNT,
    "generations": _COUNT,
    "population": _COUNT,
    "parents": POSITIVE,
    "mutation": POSITIVE,
    "cost_samples": _COUNT,
    "scans": _COUNT,
    "warmup": _COUNT,
    "runs": _COUNT,
    "calibration": _COUNT,
    "save": _NATURAL,
    "device": optional(TEXT),
    "threads": optional(_COUNT),
    "worker": _NATURAL,
    "out": optional(PATH),
}
"""What the keys of `conf/search.yaml` may hold."""
_FEWEST_COST_SAMPLES = 10
_SHOWN = 10
log = logging.getLogger(__name__)


def search(options: DictConfig, given: Sequence[str]) -> list[Path]:
    """Search, and write what was found.

    Args:
        options: `conf/search.yaml`.
        given: overrides of the run's configuration.

    Returns:
        Run folders of the networks that were found, the best first.
    """
    targets = Targets.parsed(OmegaConf.to_container(options.target))  # type: ignore[arg-type]
    if options.cost_samples < _FEWEST_COST_SAMPLES:
        raise ValueError(
            f"cost_samples={options.cost_samples}: predictions need at least {_FEWEST_COST_SAMPLES}"
        )
    if options.worker and options.strategy != "nsga2":
        raise ValueError("worker= is for strategy=nsga2; an evolution is one process")
    run = Path(options.run).expanduser().resolve()
    saved, overrides = read_run(run)
    config = layered(saved, overrides, given)
    checkpoint = checkpoint_path(run, options.ckpt)
    supernet = load_supernet(run, options.ckpt)
    device = device_of(options.device or "")
    if options.threads:
        torch.set_num_threads(options.threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    name = f"{targets.name}_{options.strategy}_seed{options.seed}"
    out = run / "search" / name if options.out is None else Path(options.out).expanduser()
    data = build_data(config)
    if not isinstance(data.reader, HoldOut):
        raise ValueError(
            "this supernet was trained without task.holdout: a search would choose by scenes that "
            "it has seen. Train with task.holdout=0.04"
        )
    data.prepare_data()
    costs, cost_model, samples = _cost_model(supernet, data, device, run, options)
    fitness = _fitness(supernet, data, device, run, options, (file_hash(checkpoint), config))
    searching = Search(
        supernet.space,
        targets,
        costs,
        cost_model,
        fitness.of,
        evaluations=options.evaluations,
        seed=options.seed,
    )
    write_json(out / "options.json", OmegaConf.to_container(options))
    notes = [
        f"latency and memory on {where(costs.records.facts)}, batch 1, {len(costs.meter.scans)} "
        f"scans of {min(costs.meter.num_voxels):,} to {max(costs.meter.num_voxels):,} voxels",
        *error_lines(cost_model.errors, samples),
    ]
    log.info("%s", "\n".join(notes))
    title = f"Networks of {run.name} within {targets}"

    def told(generation: int, so_far: Search) -> None:
        found = list(so_far.found.values())
        write_search(out, title, table_of(found, so_far.front, notes), so_far.main_cost)
        best = f"best mIoU {so_far.best[0].miou:.4f}" if so_far.best else "none within the targets"
        log.info("generation %d: %d measured, %s", generation + 1, len(found), best)

    strategy = _strategy(options, searching, targets, out)
    searching.run(strategy, options.generations, told)
    if not searching.best:
        raise ValueError(
            f"no network that was measured keeps within {targets}; allow more, or more evaluations"
        )
    Console().print(table_of_best(searching.best, searching.front, _SHOWN))
    return _save(searching, fitness, options, (config, overrides), checkpoint, out)


def _strategy(options: DictConfig, searching: Search, targets: Targets, out: Path) -> Strategy:
    space = searching.space
    if options.strategy == "nsga2":
        seed = options.seed + 1_000_003 * options.worker
        return Nsga2(space, out / "optuna.log", seed, options.population)
    return Evolution(
        space,
        lambda archs: searching.cost_model.violation(targets, archs),
        options.seed,
        options.population,
        options.parents,
        options.mutation,
    )


def _cost_model(
    supernet: SharedNetworks,
    data: SegmentationDataModule,
    device: torch.device,
    run: Path,
    options: DictConfig,
) -> tuple[MeasuredCosts, CostModel, int]:
    """Measured and predicted costs; scans are those that the costs of earlier searches hold for."""
    scans = _scans(data, options.scans)
    facts = cost_facts(supernet, scans, device) | {"warmup": options.warmup, "runs": options.runs}
    records = Records(run / "search" / "costs", _digest(facts), facts)
    if not records.has_any:
        known = sorted({where(other) for other in records.others()})
        if known:
            log.info(
                "costs that are here are of %s, or of other versions or scans; they are measured "
                "anew on %s",
                "; ".join(known),
                where(facts),
            )
    smallest = supernet.extract(supernet.space.smallest)
    meter = Meter(scans, device, smallest, options.warmup, options.runs)
    costs = MeasuredCosts(supernet.to(device), meter, records)

    def told(number: int, arch: Any, cost: Any) -> None:
        log.info(
            "costs %d/%d  %s  latency %s (maps %s)  memory %s  macs %s",
            number,
            options.cost_samples,
            arch.name,
            shown("latency", cost.latency),
            shown("latency", cost.maps),
            shown("memory", cost.memory),
            shown("macs", cost.macs),
        )

    archs, found = measured_sample(supernet.space, costs, options.cost_samples, options.seed, told)
    levels = len(supernet.space.stages) // 2
    return costs, CostModel(supernet.space, levels_of(scans, levels), archs, found), len(archs)


def _fitness(
    supernet: SharedNetworks,
    data: SegmentationDataModule,
    device: torch.device,
    run: Path,
    options: DictConfig,
    source: tuple[str, DictConfig],
) -> Fitness:
    """Scores of networks; `source`: hash of the checkpoint, and configuration of the data."""
    checkpoint_hash, config = source
    calibration = list(islice(data.train_dataloader(), options.calibration))
    scenes = list(data.eval_dataloader(HELD_OUT))
    facts = {
        "checkpoint": checkpoint_hash,
        "code": code_version(),
        "calibration": len(calibration),
        "scenes": data.reader.scenes(HELD_OUT),
        "augment": OmegaConf.to_container(config.augment, resolve=True),
        "batches": [data.seed, data.max_voxels, data.max_scenes],
        "max_eval_voxels": config.task.max_eval_voxels,
        "data": data.facts(),
        "space": supernet.space.plain(),
    }
    records = Records(run / "search" / "scores", _digest(facts), facts)
    most = config.task.max_eval_voxels
    return Fitness(supernet, calibration, scenes, device, records, most)


def _scans(data: SegmentationDataModule, number: int) -> list[Batch]:
    """Whole scenes, evenly spread over the training split, as evaluation sees them."""
    scenes = SceneDataset(data.reader, "train", data.augment.eval, data.voxelize, seed=data.seed)
    chosen = sorted({i * len(scenes) // number for i in range(number)})
    return [collate([scenes[SampleKey(0, index)]]) for index in chosen]


def levels_of(scans: Sequence[Batch], number: int) -> list[Level]:
    """Sizes of the scans at stride 1, 2, 4, ...: so many strides beside the first."""
    sums = np.zeros((number + 1, 2))
    for scan in scans:
        given = scan.voxels.coords
        coords = CoordSet(given.indices, given.batch_size)  # the scan is to keep no maps
        for level in range(number + 1):
            sums[level] += len(coords), coords.neighbors(KernelSpec(3)).num_pairs
            coords = coords.down()[0]
    return [Level(*row) for row in (sums / len(scans)).tolist()]


def _save(
    searching: Search,
    fitness: Fitness,
    options: DictConfig,
    run: tuple[DictConfig, Sequence[str]],
    checkpoint: Path,
    out: Path,
) -> list[Path]:
    facts = read_weights(checkpoint).facts
    folders = []
    for found in searching.front[: options.save]:
        folders.append(out / "subnets" / found.arch.name)
        write_subnet(
            folders[-1],
            fitness.network(found.arch),
            config_of(searching.space.config(found.arch)),
            run,
            facts,
            {
                "supernet": str(checkpoint),
                "arch": found.arch.plain(),
                "cost": asdict(found.cost),
                "holdout_miou": found.miou,
            },
        )
        log.info("written: %s", folders[-1])
    if folders:
        log.info("test the best with: python test.py run=%s", folders[0])
    return folders


def _is_target(argument: str) -> bool:
    return key_of(argument).removeprefix("target.") in COSTS


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]


@report_errors
def main() -> None:
    """The program; keys of conf/search.yaml are its own, others override those of the run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes when it starts and stops
    os.environ.setdefault(DATA_DIR, str(Path.cwd() / "data"))
    quiet_libraries()
    keep_freed_memory()
    arguments = quote_paths(sys.argv[1:])
    own = [a for a in arguments if key_of(a).split(".")[0] in KINDS or a in ("-h", "--help")]
    unknown = [a for a in own if key_of(a).split(".")[0] == "target" and not _is_target(a)]
    if unknown:
        raise ValueError(f"{unknown[0]}: expected target.<cost>=..., costs are {', '.join(COSTS)}")
    options = read_options("search", own, KINDS)
    search(options, [argument for argument in arguments if argument not in own])


if __name__ == "__main__":
    main()
