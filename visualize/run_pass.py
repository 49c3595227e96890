"""A scene goes once more through the network of a run, as it did for its prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig

from pc3d.cli.build import build_data, build_task
from pc3d.data.collate import collate
from pc3d.data.datasets.base import SampleKey, SceneDataset
from pc3d.models.api import ordinary
from pc3d.models.checkpoint import check_facts, load_network, read_checkpoint
from pc3d.models.point_transformer import PointTransformer
from pc3d.sparse import Batch
from pc3d.tasks.codebook import choices_of
from pc3d.tasks.tiling import tiles
from pc3d.utils.files import file_hash
from pc3d.utils.run_folder import TestedScenes
from visualize.attribution import Attribution, Target, attribute
from visualize.choices import Pass, one_pass
from visualize.grid import VoxelGrid

GONE = "that checkpoint is gone, run test.py again"


@dataclass(frozen=True)
class RunPass:
    """What is known of a scene's points beyond their prediction.

    Attributes:
        grid: the voxels that the network sees.
        tiles: [P] the tile that scores each point, from 1; None where the scene is not cut.
        seen: what one pass showed; None if the checkpoint is gone.
        remark: what is not known, and why, or what it is of; a sentence, or the empty string.
        attribution: of the score that was to be explained, or None.
    """

    grid: VoxelGrid
    tiles: NDArray[np.int64] | None
    seen: Pass | None
    remark: str = ""
    attribution: Attribution | None = None


def pass_of_run(
    folder: Path,
    config: DictConfig,
    tested: TestedScenes,
    scene: str,
    target: Target | None = None,
) -> RunPass:
    """Show a scene, as it is in the files, to the checkpoint of its prediction.

    Args:
        folder: run folder.
        config: configuration of the run.
        tested: the test that the prediction comes from.
        scene: its name.
        target: a score to explain.

    Raises:
        ValueError: a checkpoint that does not fit the configuration, or that is gone or predicts no
            point of the class where a score is to be explained.
    """
    data = build_data(config)
    dataset = SceneDataset(
        data.reader, tested.split, data.augment.eval, data.voxelize, seed=data.seed
    )
    sample = dataset[SampleKey(0, dataset.scenes.index(scene))]
    batch = collate([sample])
    task = build_task(config, data, training=False)
    grid = VoxelGrid(data.voxelize.voxel_size, sample.indices[sample.point2voxel])
    cut = tile_of_points(batch, task.max_eval_voxels)
    stored = sorted((folder / "checkpoints").glob("*.ckpt"))
    path = next((path for path in stored if file_hash(path) == tested.checkpoint_hash), None)
    if path is None:
        if target is not None:
            raise ValueError(f"explain= needs the checkpoint {tested.checkpoint_hash}: {GONE}")
        codes = " and chosen codes" if choices_of(ordinary(task.network)) else ""
        return RunPass(grid, cut, None, f"confidence{codes} not known: {GONE}")
    checkpoint = read_checkpoint(path)
    check_facts(checkpoint["pc3d"], data.facts(), str(path))
    load_network(task.network, checkpoint, str(path))
    network = ordinary(task.network).eval().requires_grad_(False)
    seen = one_pass(network, batch, task.max_eval_voxels)
    attribution = None
    if target is not None:
        attribution = attribute(network, batch, task.max_eval_voxels, target)
        if attribution is None:
            classes = np.unique(seen.probabilities.argmax(axis=1))
            names = ", ".join(data.reader.spec.class_names[c] for c in classes)
            raise ValueError(f"explain=: no point of {scene} is predicted so; only {names}")
    remarks = []
    if not tested.folder.name.startswith("single"):
        remarks.append("confidence and entropy are of one pass, the prediction of several")
    if choices_of(network) and isinstance(network, PointTransformer):
        remarks.append("codes of queries and keys are not shown: they have no neighbourhoods")
    return RunPass(grid, cut, seen, "; ".join(remarks), attribution)


def tile_of_points(batch: Batch, max_voxels: int) -> NDArray[np.int64] | None:
    """[P] the tile whose core holds each point, from 1; None where the scene is one tile."""
    coords = batch.voxels.coords
    if len(coords) <= max_voxels:
        return None
    found = torch.zeros(len(coords), dtype=torch.int64)
    for number, (_, core) in enumerate(tiles(coords, max_voxels), start=1):
        found[core] = number
    return found[batch.point2voxel].numpy()
