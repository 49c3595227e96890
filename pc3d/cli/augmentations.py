"""What augmentation does to a scene: `pc3d augmentations dataset=... [scene=...] [recipe=...]`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pc3d.cli.arguments import key_of, quote_paths
from pc3d.cli.build import build_data
from pc3d.cli.config import choices_of, compose_config
from pc3d.cli.errors import report_errors
from pc3d.cli.launch import DATA_DIR
from pc3d.cli.options import INTEGER, PATH, TEXT, Kind, optional, read_options
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.datasets.base import SPLITS, SceneDataset
from visualize.augmentation_steps import Unfit, apply, apply_all, other_steps, read_only, steps_of
from visualize.augmentations import Gallery, write_gallery

KINDS = {
    "scene": optional(TEXT),
    "split": Kind(", ".join(SPLITS), lambda value: value in SPLITS),
    "epochs": Kind("a whole number from 1 to 8", lambda v: INTEGER.holds(v) and 1 <= v <= 8),
    "out": Kind("a path that ends in .html", lambda v: PATH.holds(v) and Path(v).suffix == ".html"),
}
"""What the keys of `conf/augmentations.yaml` may hold."""
_MAX_NAMES = 8
log = logging.getLogger(__name__)


def run(arguments: Sequence[str]) -> None:
    """Write the page that the command line asks for."""
    own = [a for a in arguments if key_of(a) in KINDS or a in ("-h", "--help")]
    options = read_options("augmentations", own, KINDS)
    os.environ.setdefault(DATA_DIR, str(Path.cwd() / "data"))
    given = quote_paths([a for a in arguments if a not in own])
    out = Path(options.out).expanduser()
    if out.is_dir():
        raise ValueError(f"out={out} is a folder; expected a file to write, such as {out}/a.html")
    config = compose_config("config", given)
    if not INTEGER.holds(config.seed) or config.seed < 0:
        raise ValueError(f"seed={config.seed}: expected a whole number, 0 or more")
    data = build_data(config)
    if data.prepare is not None:
        data.prepare()
    gallery = gallery_of(data, options, choices_of("config", given))
    num_bytes = write_gallery(out, gallery)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for step, outcome in gallery.recipe:
        if outcome.error:
            log.warning("warning: %s (%s) fails: %s", step.name, step.place, outcome.error)
    console.print(
        f"{out}: {gallery.original.name}, {len(gallery.recipe)} steps of the recipe, "
        f"{len(gallery.others)} others, {num_bytes / 1e6:.1f} MB"
    )


def gallery_of(
    data: SegmentationDataModule, options: DictConfig, choices: dict[str, str]
) -> Gallery:
    """What the page shows of a scene.

    Args:
        data: of a training, and prepared.
        options: of `conf/augmentations.yaml`.
        choices: names of the data set, the recipe and the augmentation.

    Raises:
        ValueError, FileNotFoundError: no such scene, or it cannot be read.
    """
    augment, seed = data.augment, data.seed
    dataset = SceneDataset(
        data.reader,
        options.split,
        augment.train,
        data.voxelize,
        data.max_voxels,
        seed,
        augment.mix,
    )
    index = _index_of(dataset, options.scene)
    original = read_only(data.reader.read(dataset.scenes[index], options.split))
    recipe = steps_of(augment, data.voxelize, data.max_voxels)
    bank = Path(data.reader.root) / "instances"
    others, unfit = other_steps(recipe, original, data.spec, data.voxelize.voxel_size, bank)
    # A generator for each place: two turns of a recipe are not by the same angle.
    tried = [
        (step, apply(step, original, dataset.others(index), [seed, index, place]))
        for place, step in enumerate([*recipe, *others])
    ]
    rest = tried[len(recipe) :]
    pipeline = {f"epoch {e}": apply_all(dataset, index, e) for e in range(options.epochs)}
    if augment.mix3d > 0 and len(dataset) > 1:
        mate = (index + 1) % len(dataset)
        title = f"epoch 0, merged with {dataset.scenes[mate]}"
        pipeline[title] = apply_all(dataset, index, 0, mate)
    chosen = [f"{key}={choices[key]}" for key in ("dataset", "recipe", "augment")]
    kept = " and ".join(type(transform).__name__ for transform in augment.eval)
    return Gallery(
        title=f"Augmentation of {original.name}",
        lines=[
            "  ".join([*chosen, f"split={options.split}", f"seed={seed}"]),
            f"Scenes of validation, test and prediction get {kept or 'none of it'}.",
        ],
        original=original,
        spec=data.spec,
        pipeline=pipeline,
        recipe=tried[: len(recipe)],
        others=[(step, outcome) for step, outcome in rest if not outcome.error],
        unfit=[*unfit, *(Unfit(step.name, made.error) for step, made in rest if made.error)],
    )


def _index_of(dataset: SceneDataset, name: str | None) -> int:
    if name is None:
        return 0
    if name in dataset.scenes:
        return dataset.scenes.index(name)
    some = ", ".join(dataset.scenes[:_MAX_NAMES])
    more = len(dataset.scenes) - _MAX_NAMES
    raise ValueError(
        f"scene={name}: split {dataset.split} of {dataset.reader.root} has no such scene; it has "
        f"{some}{f' and {more} more' if more > 0 else ''}. Name one of them, or another split="
    )


@report_errors
def main() -> None:
    """The program; keys of conf/augmentations.yaml are its own, others are those of training."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(sys.argv[1:])


if __name__ == "__main__":
    main()
