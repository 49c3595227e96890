"""Join trained networks at the borders of their stages: `pc3d stitch run=A run=B out=...`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from cuda_ops.check.devices import device_of
from pc3d.cli.arguments import key_of, quote_paths, unquote
from pc3d.cli.build import build_data
from pc3d.cli.config import choices_of, layered
from pc3d.cli.errors import report_errors
from pc3d.cli.launch import DATA_DIR
from pc3d.cli.log import quiet_libraries
from pc3d.cli.options import INTEGER, PATH, TEXT, Kind, optional, read_options
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.datasets.hold_out import HELD_OUT
from pc3d.data.features import num_channels
from pc3d.models.weights import Weights, build_network, read_weights
from pc3d.search.stitch_space import staged_config
from pc3d.search.stitching import StitchableUNet, fit_stitches
from pc3d.search.subnet import SUBNET, of_data, with_model, write_checkpoint
from pc3d.utils.allocator import keep_freed_memory
from pc3d.utils.files import file_hash, write_json
from pc3d.utils.run_folder import CONFIG, checkpoint_path, moved, read_run, save_run

KINDS = {
    "run": PATH,
    "out": PATH,
    "ckpt": Kind("best or last", lambda value: value in ("best", "last")),
    "calibration": Kind("a whole number above 0", lambda v: INTEGER.holds(v) and v > 0),
    "device": optional(TEXT),
}
"""What the keys of `conf/stitch.yaml` may hold."""
_TARGET = "pc3d.search.stitching.StitchableUNet"
_SAME = ("spec", "features", "voxel_size", "transforms")
"""Facts of the data that trained networks must agree in."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anchor:
    """A trained network and its run.

    Attributes:
        folder: the run folder.
        config, overrides: of the run.
        checkpoint: file of the weights.
        weights: of its checkpoint, and what they are for.
        model: its configuration, see `staged_config`.
    """

    folder: Path
    config: DictConfig
    overrides: list[str]
    checkpoint: Path
    weights: Weights
    model: dict[str, Any]

    @classmethod
    def read(cls, run: str, checkpoint: str) -> Anchor:
        """From a run folder.

        Raises:
            ValueError: of a network that cannot be stitched, or that was trained on all scenes.
        """
        folder = Path(run).expanduser()
        config, overrides = read_run(folder)
        if not config.task.get("holdout"):
            raise ValueError(
                f"{folder} was trained on all scenes: a search chooses among stitched networks by "
                "scenes that none of them has seen. Train with task.holdout=0.04"
            )
        path = checkpoint_path(folder, checkpoint)
        weights = read_weights(path)
        try:
            model = staged_config(weights.facts.get("model") or {})
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        return cls(folder, config, overrides, path, weights, model)

    @property
    def size(self) -> int:
        """Values of its state."""
        return sum(tensor.numel() for tensor in self.weights.state.values())


def stitch(runs: Sequence[str], options: DictConfig, given: Sequence[str]) -> Path:
    """Fit the seams between trained networks, and write them all as one run folder.

    Args:
        runs: run folders of the networks.
        options: `conf/stitch.yaml`.
        given: overrides of the configuration of the largest network's run.

    Returns:
        The folder.
    """
    out = Path(options.out).expanduser()
    if (out / CONFIG).exists():
        raise FileExistsError(f"{out} holds a run already; choose another out=")
    if len(runs) < 2:
        raise ValueError(f"stitching needs two run=... or more; got {len(runs)}")
    anchors = sorted((Anchor.read(run, options.ckpt) for run in runs), key=lambda a: -a.size)
    _check_facts(anchors)
    largest = anchors[0]
    named = dict(zip(names_of(anchors), anchors, strict=True))
    model = {
        "_target_": _TARGET,
        "_recursive_": False,
        "anchors": {name: anchor.model for name, anchor in named.items()},
    }
    network = _network(named, model)
    config = layered(largest.config, largest.overrides, given)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = _data(config)
    for other in anchors[1:]:
        theirs = _data(layered(other.config, other.overrides, given))
        if any(theirs.reader.scenes(s) != data.reader.scenes(s) for s in ("train", HELD_OUT)):
            raise ValueError(
                f"{largest.folder} and {other.folder} were trained on other scenes: what the one "
                "held out, the other may have seen. Train both on the same split"
            )
    device = device_of(options.device or "")
    batches = islice(data.train_dataloader(), options.calibration)
    explained = fit_stitches(network.to(device), (batch.to(device) for batch in batches))
    Console().print(table_of(explained))
    as_supernet = ["task=supernet", f"task.holdout={config.task.holdout}"]
    written = moved(with_model(layered(config, largest.overrides, as_supernet), model), out)
    write_checkpoint(out, network, model, largest.weights.facts)
    record = {
        name: {"run": str(anchor.folder.resolve()), "checkpoint_hash": file_hash(anchor.checkpoint)}
        for name, anchor in named.items()
    }
    write_json(out / "stitching.json", {"anchors": record, "explained": explained})
    save_run(out, written, [*of_data(largest.overrides), *as_supernet])  # last: now it is a run
    log.info("written: %s; search in it with: pc3d search run=%s target.latency=20ms", out, out)
    return out


def names_of(anchors: Sequence[Anchor]) -> list[str]:
    """A name for each: the model that its run chose, numbered where two chose the same.

    A network that a search found is no `model=`, and has the name of its folder.
    """
    chosen = [
        anchor.folder.resolve().name
        if (anchor.folder / SUBNET).is_file()
        else choices_of("config", anchor.overrides)["model"]
        for anchor in anchors
    ]
    return [
        name if chosen.count(name) == 1 else f"{name}_{1 + chosen[:number].count(name)}"
        for number, name in enumerate(chosen)
    ]


def _data(config: DictConfig) -> SegmentationDataModule:
    data = build_data(config)
    data.prepare_data()
    return data


def _check_facts(anchors: Sequence[Anchor]) -> None:
    first = anchors[0]
    for other in anchors[1:]:
        differ = [
            key for key in _SAME if first.weights.facts.get(key) != other.weights.facts.get(key)
        ]
        if first.config.task.holdout != other.config.task.holdout:
            differ.append("task.holdout")
        if differ:
            raise ValueError(
                f"{first.folder} and {other.folder} differ in {', '.join(differ)}: networks are "
                "stitched that were trained for the same data"
            )


def _network(named: Mapping[str, Anchor], model: Mapping[str, Any]) -> StitchableUNet:
    facts = next(iter(named.values())).weights.facts
    sizes = num_channels(tuple(facts["features"])), len(facts["spec"]["class_names"])
    network = StitchableUNet(in_channels=sizes[0], num_classes=sizes[1], anchors=model["anchors"])
    for name, anchor in named.items():
        build_network(anchor.weights, *sizes)  # refuses what does not fit
        network.anchors[name].load_state_dict(anchor.weights.state)
    return network.eval()


def table_of(explained: Sequence[Mapping[str, float]]) -> Table:
    """How well features of one network give those of another, border by border."""
    table = Table(title="explained part of the features at the seams")
    table.add_column("behind")
    for name in explained[0]:
        table.add_column(name.replace("_to_", " to "), justify="right")
    for place, row in enumerate(explained):
        where = f"stage {place - 1}" if place else "the stem"
        table.add_row(where, *(f"{value:.3f}" for value in row.values()))
    return table


@report_errors
def main() -> None:
    """The program; keys of conf/stitch.yaml are its own, others override those of the run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault(DATA_DIR, str(Path.cwd() / "data"))
    quiet_libraries()
    keep_freed_memory()
    arguments = quote_paths(sys.argv[1:])
    own = [a for a in arguments if key_of(a) in KINDS or a in ("-h", "--help")]
    runs = [unquote(a.partition("=")[2]) for a in own if key_of(a) == "run"]
    options = read_options("stitch", own, KINDS)
    stitch(runs, options, [argument for argument in arguments if argument not in own])


if __name__ == "__main__":
    main()
