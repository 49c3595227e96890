"""Which code each voxel chose: a scene goes through a run's network, which is watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from pc3d.cli.build import build_data, build_task
from pc3d.data.collate import collate
from pc3d.data.datasets.base import SampleKey, SceneDataset
from pc3d.models.api import SegmentationOutput
from pc3d.models.checkpoint import check_facts, load_network, read_checkpoint
from pc3d.models.point_transformer import PointTransformer
from pc3d.nn import Choice, Codebook, CodeSpec
from pc3d.nn.choice import observe_choices
from pc3d.sparse import Batch, CoordSet
from pc3d.tasks.codebook import choices_of
from pc3d.tasks.tiling import predict_points
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import TestedScenes
from visualize.codes import BlockCodes

_MAX_LEVELS = 18  # bits of a coordinate in a key: below there is nothing left to halve


def codes_of_run(
    folder: Path, config: DictConfig, tested: TestedScenes, scene: str
) -> tuple[list[BlockCodes], str]:
    """The codes that a scene chose, as it is in the files, for the checkpoint of its prediction.

    Args:
        folder: run folder.
        config: configuration of the run.
        tested: the test that the prediction comes from.
        scene: its name.

    Returns:
        The blocks with codebooks in the order in which they run, none if the network has none, and
        an empty string; or no blocks and why the codes are not known, in words.

    Raises:
        ValueError: a checkpoint that does not fit the configuration.
    """
    data = build_data(config)
    task = build_task(config, data, training=False)
    if not choices_of(task.network):
        return [], ""
    if isinstance(task.network, PointTransformer):
        return [], "codes of queries and keys are not shown: they have no neighbourhoods"
    stored = sorted((folder / "checkpoints").glob("*.ckpt"))
    path = next((path for path in stored if file_hash(path) == tested.checkpoint_hash), None)
    if path is None:
        return [], "chosen codes not known: that checkpoint is gone, run test.py again"
    checkpoint = read_checkpoint(path)
    check_facts(checkpoint["pc3d"], data.facts(), str(path))
    load_network(task.network, checkpoint, str(path))
    dataset = SceneDataset(
        data.reader, tested.split, data.augment.eval, data.voxelize, seed=data.seed
    )
    sample = dataset[SampleKey(0, dataset.scenes.index(scene))]
    return chosen_codes(task.network.eval(), collate([sample]), task.max_eval_voxels), ""


def chosen_codes(network: nn.Module, batch: Batch, max_voxels: int) -> list[BlockCodes]:
    """The code with the largest weight, averaged over groups, at every point.

    Args:
        network: a `pc3d.models.SegmentationModel` in evaluation mode, with at least one `Choice`.
        batch: P points of whole scenes.
        max_voxels: budget of one forward pass, see `predict_points`.

    Returns:
        One entry for each block with codebooks, in the order in which they run. Of equal weights
        the code with the smaller number is taken.

    Raises:
        ValueError: a choice that does not have a row for each voxel of a level.
    """
    watched = _Watched(network)
    with torch.no_grad():
        weights = predict_points(watched, batch, max_voxels)
    full_names = [name for name, m in network.named_modules() if isinstance(m, Choice)]
    short_names = dict(zip(full_names, choices_of(network), strict=True))
    rows_at = {level.coords.stride: level.rows for level in levels(batch.voxels.coords)}
    widths = [block.num_codes for block in watched.blocks.values()]
    blocks = []
    for (name, block), part in zip(
        watched.blocks.items(), weights.split(widths, dim=1), strict=True
    ):
        codes = part.argmax(dim=1).cpu().numpy()
        voxels = rows_at[block.stride][batch.point2voxel].cpu().numpy()
        _, point_of_voxel = np.unique(voxels, return_index=True)
        counts = np.bincount(codes[point_of_voxel], minlength=block.num_codes)
        blocks.append(
            BlockCodes(
                name=short_names[name],
                stride=block.stride,
                neighborhoods=_neighborhoods(network, name, block.num_codes),
                shares=counts / len(point_of_voxel),
                codes=codes,
            )
        )
    return blocks


class Level(NamedTuple):
    """A coarser set below another.

    Attributes:
        coords: M voxels.
        rows: [N] int64, the row in `coords` of the voxel that each of the N finest ones lies in.
    """

    coords: CoordSet
    rows: Tensor


def levels(coords: CoordSet) -> Iterator[Level]:
    """A set and the sets of half, a quarter, ... of its resolution, as a U-Net goes down."""
    rows = torch.arange(len(coords), device=coords.device)
    for _ in range(_MAX_LEVELS):
        yield Level(coords, rows)
        coords, kernel_map = coords.down()
        rows = kernel_map.parents.long()[rows]


class _Block(NamedTuple):
    num_codes: int
    stride: int


class _Watched:
    """A network whose scores are the weights of its codes, of all blocks side by side.

    Large scenes can so be cut into the same tiles as for their prediction.

    Attributes:
        blocks: what the blocks look like, by the full name of their choice, in the order of the
            scores' columns.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self.blocks: dict[str, _Block] = {}

    def __call__(self, batch: Batch) -> SegmentationOutput:
        with observe_choices(self._network) as seen:
            self._network(batch)
        columns = []
        for name, weights in seen.items():
            level = _level_of(batch.voxels.coords, len(weights), name)
            known = self.blocks.get(name)
            stride = max(level.coords.stride, known.stride if known else 1)
            self.blocks[name] = _Block(weights.shape[1], stride)
            columns.append(weights.mean(dim=2)[level.rows])
        return SegmentationOutput(torch.cat(columns, dim=1))


def _level_of(coords: CoordSet, num_voxels: int, name: str) -> Level:
    """The level of that many voxels.

    Levels of equally many voxels have the same rows: each coarse voxel holds one fine voxel, and
    halving keeps the order of the keys. So it does not matter which of them is taken.
    """
    sizes = []
    for level in levels(coords):
        if len(level.coords) == num_voxels:
            return level
        sizes.append(len(level.coords))
        if sizes[-1] < num_voxels:
            break
    raise ValueError(
        f"{name} chose for {num_voxels} rows, but the levels of this scene have "
        f"{', '.join(map(str, sizes))} voxels: codes can be shown where each voxel of a level "
        "chooses."
    )


def _neighborhoods(network: nn.Module, choice: str, num_codes: int) -> tuple[str, ...]:
    """The codes of a choice in words; empty strings if no codebook stands beside it."""
    owner = network.get_submodule(choice.rpartition(".")[0])
    codebook = getattr(owner, "codebook", None)
    if not isinstance(codebook, Codebook):
        return ("",) * num_codes
    return tuple(describe(spec) for spec in codebook.specs)


def describe(spec: CodeSpec) -> str:
    """The neighbourhood of a code: `"cube, dilation 2"`, `"cross of size 5, dilation 1"`.

    Voxels of twice the size are named: `"cube, dilation 1, twice the stride"`.
    """
    shape = "masked cube" if spec.shape == "mask" else spec.shape
    size = "" if spec.size == 3 else f" of size {spec.size}"
    stride = ", twice the stride" if spec.stride == 2 else ""
    return f"{shape}{size}, dilation {spec.dilation}{stride}"
