"""`SegmentationDataModule`: from a reader to the batches of every stage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from filelock import FileLock
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from pc3d.data import memory
from pc3d.data.collate import collate
from pc3d.data.datasets.base import SceneDataset, SceneReader
from pc3d.data.features import num_channels
from pc3d.data.manifest import SceneSize, class_counts, largest_extent, scene_sizes
from pc3d.data.sample import VoxelSample
from pc3d.data.samplers import ShardedEvalSampler, VoxelBudgetBatchSampler
from pc3d.data.spec import DatasetSpec
from pc3d.data.transforms.base import Augmentation
from pc3d.data.view_dataset import ViewDataset, ViewSample, collate_view
from pc3d.data.views import Voting
from pc3d.data.voxelize import Voxelize
from pc3d.data.workers import collate_shared

_log = logging.getLogger(__name__)


class SegmentationDataModule(pl.LightningDataModule):
    """Batches of voxelized scenes for training, and single whole scenes for all else.

    The trainer must be given `use_distributed_sampler=False`: scenes are shared out here.

    Args:
        reader: the data set.
        voxel_size: metres.
        features: names from `pc3d.data.features.FEATURES`.
        augment: transforms of training and of evaluation, and what training mixes.
        max_voxels: voxels per training batch and process; larger scenes are cropped to it.
        max_scenes: scenes per training batch and process.
        num_workers: loader processes; 0 loads in the main process.
        seed: of augmentation, cropping and the order of scenes.
        cache_dir: where the sizes of scenes are kept.
        prepare: called once per machine before anything is read; makes the data if it is missing.

    Attributes:
        test_split: the split of `test_dataloader`, `"test"` unless set otherwise.
        voting: the views of a scene in `test_dataloader`; one, as it is, unless set otherwise.
        is_tested: tells of the name of a scene that `test_dataloader` is to leave out, or None.
    """

    def __init__(
        self,
        reader: SceneReader,
        voxel_size: float,
        features: Sequence[str],
        augment: Augmentation,
        max_voxels: int,
        max_scenes: int,
        num_workers: int,
        seed: int,
        cache_dir: str | Path,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.reader = reader
        self.voxelize = Voxelize(voxel_size=voxel_size, features=tuple(features))
        self.augment = augment
        self.max_voxels = max_voxels
        self.max_scenes = max_scenes
        self.num_workers = num_workers
        self.seed = seed
        self.cache_dir = Path(cache_dir)
        self.prepare = prepare
        self.test_split = "test"
        self.voting = Voting()
        self.is_tested: Callable[[str], bool] | None = None
        self._sizes: list[SceneSize] | None = None
        self._extent: float | None = None

    @property
    def spec(self) -> DatasetSpec:
        return self.reader.spec

    @property
    def in_channels(self) -> int:
        return num_channels(self.voxelize.features)

    @property
    def num_classes(self) -> int:
        return self.spec.num_classes

    def facts(self) -> dict[str, Any]:
        """What a checkpoint must know to label other files, as plain Python values."""
        return {
            "spec": {
                "name": self.spec.name,
                "class_names": list(self.spec.class_names),
                "palette": [list(color) for color in self.spec.palette],
                "raw_ids": list(self.spec.raw_ids),
                "raw_to_class": dict(self.spec.raw_to_class),
            },
            "features": list(self.voxelize.features),
            "voxel_size": self.voxelize.voxel_size,
        }

    def measured(self) -> dict[str, Any]:
        """What only the training scenes tell: `extent`, metres, the longer side of the largest.

        None for single scans of a LiDAR, which are looked at as a whole. It is looked up once.
        """
        if self._extent is None and self.spec.sensor != "lidar":
            voxel_size = self.voxelize.voxel_size
            self._extent = largest_extent(self.reader, "train", voxel_size, self.cache_dir)
        return {"extent": self._extent}

    def class_counts(self) -> list[int]:
        """Points of each class in the training split, for weights of classes.

        Prepares and measures the data if need be. Every process may call it: one does the work, and
        the others wait for what it writes.
        """
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(self.cache_dir / "class_counts.lock"):
            if self.prepare is not None:
                self.prepare()
            voxel_size = self.voxelize.voxel_size
            return class_counts(self.reader, "train", voxel_size, self.cache_dir, self.num_workers)

    def prepare_data(self) -> None:
        if self.prepare is not None:
            self.prepare()
        if self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING:
            self._train_sizes()  # fills the cache that the other processes read
            self.measured()

    def setup(self, stage: str) -> None:
        """Say how much memory loading needs, and warn if there is less."""
        if self.trainer is not None and stage == TrainerFn.FITTING:
            self.measured()  # not when a checkpoint is saved, when the data may have moved
        if self.trainer is None or not self.trainer.is_global_zero:
            return
        fitting = stage == TrainerFn.FITTING
        levers = [f"num_workers ({self.num_workers})"] * bool(self.num_workers)
        levers += [f"dataset.max_voxels ({self.max_voxels})"] * fitting
        loads = [self._train_load()] if fitting else []
        if not fitting or self.trainer.enable_validation:  # beside training, whose workers stay
            splits = {"fit": "val", "validate": "val", "test": self.test_split, "predict": "test"}
            load = memory.largest_scene(self.reader, splits[stage])
            if stage == TrainerFn.TESTING:  # what `ViewBatch` has besides
                feats = self.in_channels * self.voting.fragments
                load = load._replace(more_per_point=4 * (feats + (self.spec.sensor == "lidar")))
            loads.append(load)
        needed = memory.needed_bytes(
            loads, self.in_channels, self.num_workers, self.trainer.num_devices
        )
        free = memory.free_bytes()
        _log.info("%s", memory.report(needed, free))
        warning = memory.shortage(needed, free, levers)
        if warning is not None:
            _log.warning("%s", warning)

    def _train_load(self) -> memory.Load:
        sizes = self._train_sizes()
        batch = memory.largest_batch(sizes, self.max_voxels, self.max_scenes)
        mixed = 2 if self.augment.mix else 1
        merged = 2 if self.augment.mix3d else 1
        return memory.Load(batch, mixed * merged * max(size.num_points for size in sizes))

    def _train_sizes(self) -> list[SceneSize]:
        if self._sizes is None:  # listing a split asks for the state of every file
            voxel_size = self.voxelize.voxel_size
            self._sizes = scene_sizes(
                self.reader, "train", voxel_size, self.cache_dir, self.num_workers
            )
        return self._sizes

    def train_dataloader(self) -> DataLoader[VoxelSample]:
        rank, world_size = self._rank()
        # With trainer.overfit_batches every epoch must see the same batches, and no other scene.
        shuffle = self.trainer is None or not self.trainer.overfit_batches  # type: ignore[attr-defined]
        mixes = self.augment.mix if shuffle else ()
        batches = VoxelBudgetBatchSampler(
            sizes=[size.num_voxels for size in self._train_sizes()],
            max_voxels=self.max_voxels,
            max_scenes=self.max_scenes,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            shuffle=shuffle,
            mix3d=self.augment.mix3d,
        )
        if rank == 0:
            _log.info("%s", batches.describe())
        dataset = SceneDataset(
            self.reader,
            "train",
            self.augment.train,
            self.voxelize,
            self.max_voxels,
            self.seed,
            mixes,
        )
        return DataLoader(dataset, batch_sampler=batches, **self._loader_options())

    def eval_dataloader(self, split: str) -> DataLoader[VoxelSample]:
        """Batches of one whole scene each: this process's share of a split."""
        rank, world_size = self._rank()
        dataset = SceneDataset(self.reader, split, self.augment.eval, self.voxelize, seed=self.seed)
        if len(dataset) < world_size:
            raise ValueError(
                f"{self.reader.root}: the {split} split has {len(dataset)} scenes for {world_size} "
                "processes, and each needs one. Lower trainer.devices."
            )
        sampler = ShardedEvalSampler(len(dataset), rank, world_size)
        return DataLoader(dataset, batch_size=1, sampler=sampler, **self._loader_options())

    def val_dataloader(self) -> DataLoader[VoxelSample]:
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[ViewSample]:
        """Single views of whole scenes, those of a scene one after the other."""
        dataset = ViewDataset(
            reader=self.reader,
            split=self.test_split,
            transforms=self.augment.eval,
            voxelize=self.voxelize,
            voting=self.voting,
            seed=self.seed,
        )
        keys = dataset.keys(*self._rank(), self.is_tested)
        options = {**self._loader_options(), "collate_fn": partial(collate_shared, collate_view)}
        return DataLoader(dataset, batch_size=1, sampler=keys, **options)

    def predict_dataloader(self) -> DataLoader[VoxelSample]:
        return self.eval_dataloader("test")

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _loader_options(self) -> dict[str, Any]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {
            "num_workers": self.num_workers,
            "prefetch_factor": memory.PREFETCH if self.num_workers > 0 else None,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": on_gpu,
            "collate_fn": partial(collate_shared, collate),
        }
