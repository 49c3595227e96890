"""Cuts the instances of the training scenes out into a bank, for `InstanceCutMix`.

`python -m data_prep.instances [out=FOLDER] [classes=car,person,...] [min_points=1]
[max_per_class=10000] [seed=0] [dataset=... and any other value of conf/]` writes the folder that
`pc3d.data.transforms.instance_bank` describes; without `out`, `<root of the data set>/instances`,
where `augment=lidar_cutmix` looks for it. Without `classes`, all classes that have instances. Of
more than `max_per_class` instances of a class, random ones are kept, so that memory is bounded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from data_prep.arguments import options_and_config
from pc3d.cli.build import build_data
from pc3d.cli.errors import USER_ERRORS, message
from pc3d.data.datasets.base import SceneReader
from pc3d.data.sample import PointSample
from pc3d.data.transforms.instance_bank import cut_instances, write_bank
from pc3d.data.transforms.mixing import class_indices
from pc3d.utils.parallel import parallel_map

OPTIONS = {"out": "", "classes": "", "min_points": "1", "max_per_class": "10000", "seed": "0"}


def training_instances(
    reader: SceneReader, classes: Sequence[int], min_points: int, num_workers: int
) -> Iterator[list[PointSample]]:
    """The instances of every training scene, in the order of the scenes, with a progress bar.

    Args:
        reader: the data set.
        classes: those whose instances are wanted.
        min_points: smaller instances are left out.
        num_workers: processes that read; 0 reads in this one.
    """
    scenes = reader.scenes("train")
    cut = partial(_cut, reader, classes, min_points)
    return parallel_map(cut, scenes, num_workers, "cutting instances")


def _cut(
    reader: SceneReader, classes: Sequence[int], min_points: int, scene: str
) -> list[PointSample]:
    return cut_instances(reader.read(scene, "train"), classes, min_points)


def choose(
    instances: Iterable[PointSample], max_per_class: int, rng: np.random.Generator
) -> list[PointSample]:
    """At most `max_per_class` instances of each class, each with the same probability.

    Reservoir sampling (Vitter 1985, algorithm R): no more are held at any time.
    """
    kept: dict[int, list[PointSample]] = {}
    num_seen: dict[int, int] = {}
    for instance in instances:
        assert instance.segment is not None
        segment = int(instance.segment[0])
        place = num_seen.get(segment, 0)
        num_seen[segment] = place + 1
        if place < max_per_class:
            kept.setdefault(segment, []).append(instance)
            continue
        place = int(rng.integers(place + 1))
        if place < max_per_class:
            kept[segment][place] = instance
    return [instance for segment in sorted(kept) for instance in kept[segment]]


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = Console(stderr=True)
    try:
        own, config = options_and_config(arguments, OPTIONS)
        out = Path(own["out"] or f"{config.dataset.reader.root}/instances")
        if out.exists():
            raise FileExistsError(f"{out} exists; remove it to make the bank again")
        data = build_data(config)
        if data.prepare is not None:
            data.prepare()
        names = own["classes"].split(",") if own["classes"] else data.spec.class_names
        classes = class_indices(names, data.spec, "classes")
        scenes = training_instances(
            data.reader, classes, int(own["min_points"]), config.num_workers
        )
        rng = np.random.default_rng(int(own["seed"]))
        chosen = choose(chain.from_iterable(scenes), int(own["max_per_class"]), rng)
        write_bank(out, chosen, data.spec)
    except USER_ERRORS as error:
        console.print(f"data_prep.instances: {message(error)}", style="red", markup=False)
        return 2
    num_points = sum(map(len, chosen))
    console.print(f"{out}: {len(chosen):,} instances, {num_points:,} points", markup=False)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
