"""Learns the masks of codes from the neighbourhoods that scenes have.

`python -m data_prep.patterns out=FILE.yaml [num_patterns=4] [dilations=2,1,3] [num_voxels=200000]
[num_scenes=40] [seed=0] [dataset=... and any other value of conf/]` looks at the neighbourhoods of
3x3x3 taps of voxels of the training scenes, at every dilation, clusters their occupancy (k-means on
vectors of 27 bits), and keeps the taps that are occupied in more than half of a cluster. The file
is an attention for `conf/attention`, whose codes see nothing but these taps:
`attention@model.block.attention=<name>`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from rich.console import Console
from scipy.cluster.vq import kmeans2

from data_prep.arguments import options_and_config
from pc3d.cli.build import build_data
from pc3d.cli.errors import USER_ERRORS, message
from pc3d.data.collate import collate
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.sparse import CoordSet, KernelSpec
from pc3d.utils.files import write_bytes

OPTIONS = {
    "out": "",
    "num_patterns": "4",
    "dilations": "2,1,3",
    "num_voxels": "200000",
    "num_scenes": "40",
    "seed": "0",
}


def learn_patterns(
    coords: Sequence[CoordSet], dilation: int, num_patterns: int, num_voxels: int, seed: int = 0
) -> list[str]:
    """The masks of one code.

    Args:
        coords: the voxels of scenes.
        dilation: of the cube of 27 taps.
        num_patterns: masks to learn; fewer come back where clusters agree.
        num_voxels: voxels to learn from, at most, spread evenly over all.
        seed: of the start of k-means.

    Returns:
        Strings of 27 digits, 1 for a tap that is occupied in more than half of a cluster, in the
        order of `pc3d.sparse.KernelSpec`. The largest cluster comes first. The centre, where the
        voxel itself is, is in all of them.
    """
    kernel = KernelSpec(3, dilation=dilation)
    tables = [scene.neighbors(kernel).table for scene in coords]
    occupied = np.concatenate([(table >= 0).numpy().T for table in tables])
    step = max(1, -(-len(occupied) // num_voxels))
    sample: NDArray[np.float64] = occupied[::step].astype(np.float64)
    generator = np.random.default_rng(seed)
    centers, labels = kmeans2(sample, num_patterns, minit="++", rng=generator)
    sizes = np.bincount(labels, minlength=num_patterns)
    order = [n for n in np.argsort(-sizes, kind="stable") if sizes[n]]
    masks = ["".join("1" if share > 0.5 else "0" for share in centers[n]) for n in order]
    return list(dict.fromkeys(masks))


def training_voxels(data: SegmentationDataModule, num_scenes: int) -> list[CoordSet]:
    """The voxels of at most `num_scenes` training scenes, evenly chosen, without augmentation."""
    data.prepare_data()
    scenes = data.reader.scenes("train")
    step = max(1, -(-len(scenes) // num_scenes))
    samples = (data.voxelize(data.reader.read(scene, "train")) for scene in scenes[::step])
    return [collate([sample]).voxels.coords for sample in samples]


def main(arguments: Sequence[str]) -> int:
    """Run from a command line of `key=value` arguments; returns the exit status."""
    console = Console(stderr=True)
    try:
        own, config = options_and_config(arguments, OPTIONS)
        out = Path(own["out"])
        if out.suffix != ".yaml":
            raise ValueError(f"out=FILE.yaml is missing: the file to write; got {own['out']!r}")
        numbers = {key: int(own[key]) for key in ("num_patterns", "num_voxels", "num_scenes")}
        dilations = [int(number) for number in own["dilations"].split(",")]
        coords = training_voxels(build_data(config), numbers.pop("num_scenes"))
        codes = [
            {
                "shape": "mask",
                "dilation": dilation,
                "masks": learn_patterns(coords, dilation, **numbers, seed=int(own["seed"])),
            }
            for dilation in dilations
        ]
    except USER_ERRORS as error:
        console.print(f"data_prep.patterns: {message(error)}", style="red", markup=False)
        return 2
    header = f"# Made by: python -m data_prep.patterns {' '.join(arguments)}\n"
    content = OmegaConf.to_yaml(
        OmegaConf.create({"defaults": ["codebook"], "codes": codes, "guidance": "pattern"})
    )
    write_bytes(out, (header + content).encode())
    total = sum(map(len, coords))
    console.print(f"{out}: patterns of {total:,} voxels of {len(coords)} scenes", markup=False)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
