"""The data module with and without a trainer: shares, epochs, stages, resuming."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from pc3d.data import memory
from pc3d.data.datamodule import SegmentationDataModule
from pc3d.data.datasets import SampleKey, ScanNet
from pc3d.data.manifest import SceneSize
from pc3d.data.memory import Load, Needed
from pc3d.data.transforms import CenterShift, ChromaticJitter, LaserMix, RandomRotate
from pc3d.data.transforms.base import Augmentation
from pc3d.data.views import Voting


@pytest.fixture
def many_scenes(scannet_root, write_scannet_scene):
    """Six more training scenes."""
    for number in range(6):
        scene = f"scene0010_{number:02d}"
        labels = torch.randint(0, 41, (30 + 10 * number,)).numpy()
        write_scannet_scene(scannet_root / "scans", scene, len(labels), labels, seed=number)
    return scannet_root


@pytest.fixture
def make_datamodule(many_scenes, tmp_path):
    def make(**options) -> SegmentationDataModule:
        arguments = {
            "reader": ScanNet(many_scenes),
            "voxel_size": 0.25,
            "features": ["color", "height"],
            "augment": Augmentation(
                train=(CenterShift(), RandomRotate(p=1.0), ChromaticJitter()), eval=(CenterShift(),)
            ),
            "max_voxels": 100,
            "max_scenes": 3,
            "num_workers": 0,
            "seed": 5,
            "cache_dir": tmp_path / "cache",
        }
        return SegmentationDataModule(**{**arguments, **options})

    return make


class Recorder(pl.LightningModule):
    """Learns nothing; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.epochs: dict[int, list] = {}
        self.evaluated: list[str] = []

    def training_step(self, batch, batch_idx):
        seen = (batch.points.names, batch.voxels.feats.sum().item())
        self.epochs.setdefault(self.current_epoch, []).append(seen)
        return self.layer(batch.voxels.feats).mean()

    def validation_step(self, batch, batch_idx):
        self.evaluated += batch.points.names

    def test_step(self, view, batch_idx):
        self.evaluated += view.batch.points.names

    def predict_step(self, batch, batch_idx):
        return batch.points.names

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(**options) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**{**quiet, **options})


def test_facts_are_plain_values_about_the_labels(make_datamodule):
    datamodule = make_datamodule()
    facts = datamodule.facts()
    assert datamodule.in_channels == 4
    assert datamodule.num_classes == 20
    assert json.loads(json.dumps(facts))["voxel_size"] == 0.25
    assert facts["features"] == ["color", "height"]
    assert facts["spec"]["raw_ids"][-1] == 39
    assert facts["spec"]["raw_to_class"][39] == 19


def test_every_epoch_has_all_scenes_and_its_own_randomness(make_datamodule):
    """Fails if the trainer does not tell the batch sampler which epoch it is."""
    module, datamodule = Recorder(), make_datamodule(num_workers=1)
    make_trainer(max_epochs=3).fit(module, datamodule=datamodule)
    scenes = sorted(datamodule.reader.scenes("train"))
    assert len(scenes) == 8
    for seen in module.epochs.values():
        assert sorted(name for names, _ in seen for name in names) == scenes
    orders = [[names for names, _ in module.epochs[epoch]] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert len({len(order) for order in orders}) == 1
    assert sorted(module.evaluated) == ["scene0011_00"] * 3


def test_training_resumed_in_an_epoch_sees_that_epochs_batches(make_datamodule, tmp_path):
    through = Recorder()
    make_trainer(max_epochs=3).fit(through, datamodule=make_datamodule())
    first, second = Recorder(), Recorder()
    trainer = make_trainer(max_epochs=1)
    trainer.fit(first, datamodule=make_datamodule())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    make_trainer(max_epochs=3).fit(
        second, datamodule=make_datamodule(), ckpt_path=tmp_path / "last.ckpt"
    )
    assert {**first.epochs, **second.epochs} == through.epochs


def test_overfitting_repeats_the_same_batches(make_datamodule):
    module = Recorder()
    make_trainer(max_epochs=3, overfit_batches=2).fit(module, datamodule=make_datamodule())
    orders = [[names for names, _ in seen] for seen in module.epochs.values()]
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0]) == 2


def mixing(mix=()) -> Augmentation:
    return Augmentation(train=(CenterShift(), RandomRotate(p=1.0)), mix=mix, mix3d=0.5)


def test_mixed_training_resumed_in_an_epoch_sees_that_epochs_batches(make_datamodule, tmp_path):
    """Other scenes in every epoch, and the same again where training goes on."""
    options = {"augment": mixing((LaserMix(pitch=(-30.0, 80.0), p=0.5),)), "num_workers": 1}
    through, first, second = Recorder(), Recorder(), Recorder()
    make_trainer(max_epochs=3).fit(through, datamodule=make_datamodule(**options))
    trainer = make_trainer(max_epochs=1)
    trainer.fit(first, datamodule=make_datamodule(**options))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = make_datamodule(**{**options, "num_workers": 0})
    make_trainer(max_epochs=3).fit(second, datamodule=resumed, ckpt_path=tmp_path / "last.ckpt")
    assert {**first.epochs, **second.epochs} == through.epochs
    names = [[names for names, _ in seen] for seen in through.epochs.values()]
    assert any("+" in name for epoch in names for batch in epoch for name in batch)


def test_merging_shows_every_scene_once_per_epoch(make_datamodule):
    """Fewer scenes, none twice, none left out; in batches of the same scenes as without."""
    seen = {}
    for mix3d in (0.0, 0.5):
        module, augment = Recorder(), Augmentation(train=(CenterShift(),), mix3d=mix3d)
        trainer = make_trainer(max_epochs=2)
        trainer.fit(module, datamodule=make_datamodule(augment=augment, max_voxels=150))
        batches = [names for epoch in module.epochs.values() for names, _ in epoch]
        seen[mix3d] = [[n for name in names for n in name.split("+")] for names in batches]
        merged = [name for names in batches for name in names if "+" in name]
        assert bool(merged) == (mix3d > 0)
    assert seen[0.0] == seen[0.5]


def test_overfitting_merges_the_same_and_mixes_nothing_from_elsewhere(make_datamodule):
    module = Recorder()
    augment = mixing((LaserMix(pitch=(-30.0, 80.0)),))
    trainer = make_trainer(max_epochs=6, overfit_batches=2)
    trainer.fit(module, datamodule=make_datamodule(augment=augment, max_voxels=150))
    orders = [[names for names, _ in seen] for seen in module.epochs.values()]
    assert all(order == orders[0] for order in orders)
    plain = Recorder()
    make_trainer(max_epochs=1, overfit_batches=2).fit(
        plain, datamodule=make_datamodule(max_voxels=150)
    )
    scenes = [name for names, _ in plain.epochs[0] for name in names]
    assert [n for names in orders[0] for name in names for n in name.split("+")] == scenes


def test_evaluation_mixes_nothing(make_datamodule):
    datamodule = make_datamodule(augment=Augmentation(mix=(LaserMix(),), mix3d=1.0))
    assert [b.points.names for b in datamodule.eval_dataloader("train")] == [
        (scene,) for scene in datamodule.reader.scenes("train")
    ]


def test_classes_are_counted_after_the_data_are_made(make_datamodule, scannet_root, tmp_path):
    moved = tmp_path / "later"
    datamodule = make_datamodule(
        reader=ScanNet(moved), prepare=lambda: moved.exists() or scannet_root.rename(moved)
    )
    counts = datamodule.class_counts()
    assert len(counts) == 20 and counts == datamodule.class_counts()
    scenes = [datamodule.reader.read(s, "train") for s in datamodule.reader.scenes("train")]
    assert sum(counts) == sum(int((scene.segment >= 0).sum()) for scene in scenes)


def test_test_and_predict_use_whole_scenes_of_the_test_split(make_datamodule):
    module, datamodule = Recorder(), make_datamodule(max_voxels=10)
    make_trainer().test(module, datamodule=datamodule, verbose=False)
    assert module.evaluated == ["scene0707_00"]
    predicted = make_trainer().predict(module, datamodule=datamodule)
    assert predicted == [("scene0707_00",)]
    (batch,) = list(datamodule.eval_dataloader("val"))
    assert batch.points.num_points == 62
    assert len(batch.voxels.coords) > 10
    assert max(len(b.voxels.coords) for b in datamodule.train_dataloader()) == 10


def test_evaluation_is_not_augmented(make_datamodule):
    """World positions come back from xyz + origin, in the order of the file."""
    datamodule = make_datamodule()
    dataset = datamodule.eval_dataloader("val").dataset
    first, second = (dataset[SampleKey(epoch, 0)] for epoch in (0, 1))
    assert first.feats.tolist() == second.feats.tolist()
    raw = datamodule.reader.read("scene0011_00", "val")
    torch.testing.assert_close(
        torch.from_numpy(first.points.xyz + first.points.origin).float(), torch.from_numpy(raw.xyz)
    )
    assert first.points.row.tolist() == list(range(62))


class Part:
    """What the data module asks a trainer for."""

    overfit_batches = 0

    def __init__(self, rank: int, world_size: int) -> None:
        self.global_rank, self.world_size = rank, world_size
        self.strategy = pl.strategies.SingleDeviceStrategy(torch.device("cpu"))


def test_processes_share_the_scenes(make_datamodule):
    shares = []
    for rank in range(2):
        datamodule = make_datamodule()
        datamodule.trainer = Part(rank, 2)
        batches = list(datamodule.train_dataloader())
        assert len(batches) == len(datamodule.train_dataloader())
        shares.append([batch.points.names for batch in batches])
    names = [name for share in shares for batch in share for name in batch]
    assert len(shares[0]) == len(shares[1])
    assert sorted(names) == sorted(datamodule.reader.scenes("train"))
    evaluated = []
    for rank in range(3):
        datamodule.trainer = Part(rank, 3)
        evaluated += [batch.points.names for batch in datamodule.eval_dataloader("train")]
    assert sorted(evaluated) == [(name,) for name in sorted(names)]
    datamodule.trainer = Part(0, 99)
    with pytest.raises(ValueError, match="scenes for 99 processes, and each"):
        datamodule.val_dataloader()


def test_prepare_runs_before_anything_is_read(make_datamodule, scannet_root, tmp_path):
    """The reader may point at data that `prepare` makes."""
    moved = tmp_path / "later"
    calls = []

    def prepare() -> None:
        calls.append(1)
        if not moved.exists():
            scannet_root.rename(moved)

    module = Recorder()
    datamodule = make_datamodule(reader=ScanNet(moved), prepare=prepare)
    make_trainer(max_epochs=1).fit(module, datamodule=datamodule)
    assert calls == [1]
    assert module.epochs


def test_the_size_of_training_scenes_is_known_before_a_checkpoint_is_saved(
    make_datamodule, scannet_root
):
    """Whatever becomes of the data meanwhile, and for the price of one look."""
    datamodule = make_datamodule()
    reader = datamodule.reader
    sides = [reader.read(scene, "train").xyz[:, :2] for scene in reader.scenes("train")]

    make_trainer(max_epochs=1).fit(Recorder(), datamodule=datamodule)
    scannet_root.rename(scannet_root.with_name("moved"))
    assert datamodule.measured() == {"extent": max(np.ptp(side, axis=0).max() for side in sides)}


def test_testing_needs_no_training_data(make_datamodule, scannet_root):
    (scannet_root / "scannetv2_train.txt").write_text("scene0500_00")  # not there
    (scannet_root / "scannetv2_test.txt").write_text("scene0707_00")
    module = Recorder()
    make_trainer().test(module, datamodule=make_datamodule(), verbose=False)
    assert module.evaluated == ["scene0707_00"]


def memory_lines(caplog, monkeypatch, shm: int, run) -> list[tuple[str, str]]:
    free = memory.Free(ram=10 * 2**30, shm=shm)
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    with caplog.at_level("INFO", "pc3d.data.datamodule"):
        run()
    return [(r.levelname, r.getMessage()) for r in caplog.records if "loading" in r.getMessage()]


def test_training_says_what_memory_loading_needs(make_datamodule, caplog, monkeypatch):
    datamodule = make_datamodule(num_workers=1, max_voxels=40, max_scenes=2)
    run = partial(make_trainer(max_epochs=1).fit, Recorder(), datamodule=datamodule)
    (level, text), (warned, warning) = memory_lines(caplog, monkeypatch, 1000, run)
    train = Load(memory.largest_batch(datamodule._train_sizes(), 40, 2), 80)
    needed = memory.needed_bytes([train, Load(SceneSize(62, 62), 62)], 4, 1)
    assert text == memory.report(needed, memory.Free(10 * 2**30, 1000))
    assert (level, warned) == ("INFO", "WARNING")
    assert "lower num_workers (1) or dataset.max_voxels (40)" in warning


def test_testing_and_training_without_validation_say_it_too(make_datamodule, caplog, monkeypatch):
    datamodule = make_datamodule(num_workers=0)
    datamodule.test_split = "val"
    run = partial(make_trainer().test, Recorder(), datamodule=datamodule, verbose=False)
    ((_, text),) = memory_lines(caplog, monkeypatch, 0, run)
    assert "0 MiB in /dev/shm (free: 0 MiB)" in text and "up to 0 MiB of RAM" in text
    found = []

    def needed_bytes(loads, *rest) -> Needed:
        found.append([(load.num_points, load.more_per_point) for load in loads])
        return Needed(1, 1)

    monkeypatch.setattr(memory, "needed_bytes", needed_bytes)
    run()
    datamodule.voting = Voting(fragments=True)  # whose features come point by point
    run()
    trainer = make_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(Recorder(), datamodule=datamodule)
    assert found == [[(62, 0)], [(62, 4 * datamodule.in_channels)], [(80, 0)]]


def test_mixes_load_partners(make_datamodule):
    datamodule, mixed = make_datamodule(), (LaserMix(),)
    plain = datamodule._train_load().num_points
    for mix, mix3d, times in ((mixed, 0, 2), ((), 0.5, 2), (mixed, 0.5, 4)):
        datamodule.augment = Augmentation(mix=mix, mix3d=mix3d)
        assert datamodule._train_load().num_points == times * plain


def test_workers_hand_batches_over_in_shared_memory(make_datamodule):
    """So that a full /dev/shm is an error; see `pc3d.data.workers`."""
    datamodule = make_datamodule(num_workers=1)
    for loader in (datamodule.train_dataloader(), datamodule.val_dataloader()):
        assert "collate_shared" in repr(loader.collate_fn)


def test_unknown_feature_fails_when_the_module_is_made(make_datamodule):
    with pytest.raises(ValueError, match="unknown"):
        make_datamodule(features=["rgb"])
