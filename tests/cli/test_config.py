"""Configurations are code: everything composes, and what does not says why."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config, conf_dir, layered, recipe_for, resolved
from pc3d.cli.errors import message

PIN = ("paths.run_dir=run", "paths.data_dir=data")


@pytest.fixture(autouse=True)
def data_folder(monkeypatch):
    """The programs set it; composing by hand needs it too."""
    monkeypatch.setenv("PC3D_DATA", "data")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def compose(*overrides: str):
    return compose_config("config", [*overrides, *PIN])


def test_every_pair_has_a_recipe():
    for dataset, model in product(choices("dataset"), choices("model")):
        assert recipe_for(dataset, model) in choices("recipe"), (dataset, model)


FAMILIES = ("minkunet34c", "voxel_tr", "dwconv_a", "votr_a", "spvcnn_cr1p0", "ptv1")
# Composing takes half a second: every data set with a model of each recipe, every model once.
PAIRS = sorted(
    {
        *product(choices("dataset"), FAMILIES),
        *product(("scannet",), choices("model")),
    }
)


@pytest.mark.parametrize(("dataset", "model"), PAIRS)
def test_pairs_compose_and_build(dataset, model):
    described = ["dataset.reader.description=als"] * (dataset == "custom")
    config = compose(f"dataset={dataset}", f"model={model}", *described)
    data = build_data(config)
    with torch.device("meta"):
        network = instantiate(
            config.model, in_channels=data.in_channels, num_classes=data.num_classes
        )
    assert sum(p.numel() for p in network.parameters()) > 1_000_000
    instantiate(config.loss)
    weights = [torch.nn.Parameter(torch.zeros(2, 2))]
    optimizer = instantiate(config.optimizer)(weights)
    instantiate(config.scheduler)(optimizer, total_steps=2000)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes(experiment):
    resolved(compose(f"experiment={experiment}"))


@pytest.mark.parametrize("group", ["trainer", "loss", "scheduler", "augment", "logger", "debug"])
def test_every_option_of_a_group_composes(group):
    for name in choices(group):
        resolved(compose(f"{group}={name}"))


class Contains:
    """Equal to a list of transforms or mixes that names all of these classes."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        return all(f".{name}'" in str(other) for name in self.names)


# Rows of published recipes: dataset, model, then what the publication says.
PUBLISHED = {
    "Choy et al., ScanNet": (
        ("dataset=scannet", "model=minkunet34c"),
        {
            "dataset.voxel_size": 0.02,
            "dataset.features": ["color"],
            "dataset.max_scenes": 9,
            "dataset.max_voxels": 1_200_000,
            "optimizer._target_": "torch.optim.SGD",
            "optimizer.lr": 0.1,
            "optimizer.momentum": 0.9,
            "optimizer.dampening": 0.1,
            "optimizer.weight_decay": 1e-4,
            "scheduler._target_": "pc3d.tasks.optim.poly",
            "scheduler.power": 0.9,
            "trainer.max_steps": 120_000,
            "loss._target_": "pc3d.losses.CrossEntropy",
        },
    ),
    "Pointcept, ScanNet": (
        ("dataset=scannet", "model=minkunet34c", "recipe=scannet_minkunet34c_pointcept"),
        {
            "dataset.voxel_size": 0.02,
            "dataset.features": ["color", "normal"],
            "dataset.max_scenes": 12,
            "model.stem_kernel_size": 5,
            "optimizer.lr": 0.05,
            "optimizer.momentum": 0.9,
            "optimizer.nesterov": True,
            "optimizer.weight_decay": 1e-4,
            "scheduler._target_": "pc3d.tasks.optim.one_cycle",
            "scheduler.pct_start": 0.05,
            "scheduler.div_factor": 10,
            "scheduler.final_div_factor": 1e4,
            "trainer.max_epochs": 800,
            "trainer.max_steps": -1,
            "loss._target_": "pc3d.losses.CrossEntropy",
            "augment.mix3d": 0.8,
            "augment.train": Contains(
                "RandomDropout", "ElasticDistortion", "ChromaticJitter", "SphereCrop"
            ),
        },
    ),
    "CodedVTR, ScanNet": (
        ("dataset=scannet", "model=voxel_tr_b"),
        {
            "dataset.voxel_size": 0.02,
            "dataset.features": ["color", "relative_xyz"],
            "dataset.max_scenes": 2,
            "optimizer._target_": "torch.optim.Adam",
            "optimizer.lr": 1e-3,
            "optimizer.weight_decay": 3e-4,
            "scheduler._target_": "pc3d.tasks.optim.poly",
            "scheduler.power": 0.9,
            "trainer.max_steps": 12_000,
        },
    ),
    "Pointcept, S3DIS": (
        ("dataset=s3dis", "model=minkunet34c", "recipe=s3dis_minkunet34c_pointcept"),
        {
            "dataset.reader.test_area": 5,
            "dataset.voxel_size": 0.05,
            "dataset.features": ["color", "xyz"],
            "model.stem_kernel_size": 5,
            "trainer.check_val_every_n_epoch": 30,
            "augment.mix3d": 0.8,
            "augment.train": Contains("ElasticDistortion", "ChromaticJitter", "SphereCrop"),
            "dataset.max_scenes": 12,
            "optimizer._target_": "torch.optim.SGD",
            "optimizer.lr": 0.1,
            "optimizer.weight_decay": 1e-4,
            "scheduler._target_": "pc3d.tasks.optim.poly",
            "scheduler.power": 0.9,
            "trainer.max_epochs": 3000,
            "loss._target_": "pc3d.losses.CrossEntropy",
        },
    ),
    "ours, S3DIS": (
        ("dataset=s3dis", "model=voxel_tr_b"),
        {
            "dataset.voxel_size": 0.02,
            "dataset.features": ["color", "xyz", "relative_xyz"],
            "dataset.max_scenes": 8,
            "optimizer._target_": "torch.optim.AdamW",
            "optimizer.lr": 1e-3,
            "optimizer.weight_decay": 0.02,
            "scheduler._target_": "pc3d.tasks.optim.one_cycle",
            "trainer.max_epochs": 1000,
            "loss._target_": "pc3d.losses.WeightedSum",
        },
    ),
    "mmdetection3d, SemanticKITTI": (
        (
            "dataset=semantickitti",
            "model=minkunet34c",
            "recipe=semantickitti_minkunet34c_mmdet3d",
        ),
        {
            "dataset.voxel_size": 0.05,
            "dataset.features": ["xyz", "intensity"],
            "optimizer._target_": "torch.optim.AdamW",
            "optimizer.lr": 8e-3,
            "optimizer.weight_decay": 0.01,
            "scheduler._target_": "pc3d.tasks.optim.multi_step",
            "scheduler.milestones": [0.6666667, 0.8888889],  # epochs 24 and 32 of 36
            "trainer.max_epochs": 36,
            "trainer.gradient_clip_val": 10,
            "augment.mix": Contains("LaserMix", "PolarMix"),
        },
    ),
    "CodedVTR, SemanticKITTI": (
        ("dataset=semantickitti", "model=voxel_tr_a"),
        {
            "dataset.voxel_size": 0.05,
            "dataset.features": ["xyz", "intensity"],
            "dataset.max_scenes": 2,
            "optimizer._target_": "torch.optim.Adam",
            "optimizer.lr": 2e-3,
            "optimizer.weight_decay": 1e-4,
            "trainer.max_steps": 15_000,
            "loss._target_": "pc3d.losses.WeightedSum",
        },
    ),
    "Point Transformer, S3DIS": (
        ("dataset=s3dis", "model=ptv1"),
        {
            "dataset.reader.test_area": 5,
            "dataset.voxel_size": 0.04,
            "dataset.features": ["xyz", "color"],
            "dataset.max_scenes": 16,
            "optimizer._target_": "torch.optim.SGD",
            "optimizer.lr": 0.5,
            "optimizer.momentum": 0.9,
            "optimizer.weight_decay": 1e-4,
            "scheduler._target_": "pc3d.tasks.optim.multi_step",
            "scheduler.milestones": [0.6, 0.8],
            "scheduler.gamma": 0.1,
            "trainer.max_epochs": 3000,  # 100, in each of which a room is seen 30 times
            "loss._target_": "pc3d.losses.CrossEntropy",
            "augment.train": Contains("RandomScale", "ChromaticTranslation", "SphereCrop"),
        },
    ),
    "SPVNAS, SemanticKITTI, SPVCNN": (
        ("dataset=semantickitti", "model=spvcnn_cr0p64"),
        {
            "model.point_branch.dropout": 0.3,
            "dataset.voxel_size": 0.05,
            "optimizer.lr": 0.24,
            "scheduler._target_": "pc3d.tasks.optim.cosine",
            "trainer.max_epochs": 15,
        },
    ),
    "Pointcept, SemanticKITTI, SPVCNN": (
        (
            "dataset=semantickitti",
            "model=spvcnn_cr1p0",
            "recipe=semantickitti_spvcnn_pointcept",
        ),
        {
            "optimizer._target_": "torch.optim.AdamW",
            "optimizer.lr": 2e-3,
            "optimizer.weight_decay": 5e-3,
            "scheduler._target_": "pc3d.tasks.optim.one_cycle",
            "scheduler.pct_start": 0.04,
            "scheduler.final_div_factor": 100.0,
            "trainer.max_epochs": 50,
            "augment.train": Contains("RandomFlip", "RandomScale", "RandomJitter"),
        },
    ),
    "SPVNAS, SemanticKITTI": (
        ("dataset=semantickitti", "model=minkunet_cr1p0"),
        {
            "dataset.voxel_size": 0.05,
            "dataset.features": ["xyz", "intensity"],
            "dataset.max_scenes": 2,
            "dataset.max_voxels": 260_000,
            "optimizer._target_": "torch.optim.SGD",
            "optimizer.lr": 0.24,
            "optimizer.momentum": 0.9,
            "optimizer.nesterov": True,
            "optimizer.weight_decay": 1e-4,
            "scheduler._target_": "pc3d.tasks.optim.cosine",
            "trainer.max_epochs": 15,
        },
    ),
}


@pytest.mark.parametrize("row", PUBLISHED)
def test_published_recipes(row):
    overrides, expected = PUBLISHED[row]
    config = compose(*overrides)
    assert {key: OmegaConf.select(config, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("dataset", "model", "recipe"),
    [
        ("scannet", "minkunet14a", "scannet_minkunet"),
        ("scannet", "voxel_tr", "scannet_voxel_tr"),
        ("scannet", "voxel_tr_s", "scannet_voxel_tr"),
        ("scannet", "voxel_tr_spv", "scannet_voxel_tr"),
        ("s3dis", "ptv1_vq", "s3dis_ptv1"),
        ("scannet", "minkunet34c_pointcept", "scannet_minkunet34c_pointcept"),
        ("scannet", "votr_m", "scannet_votr"),
        ("synthetic", "votr_m", "synthetic"),
        ("synthetic_streets", "votr_m", "synthetic_streets"),
        ("mine", "votr_m", "mine_votr_m"),
    ],
)
def test_a_recipe_serves_the_models_whose_names_begin_like_its_own(dataset, model, recipe):
    assert recipe_for(dataset, model) == recipe


def test_a_pair_without_recipe_names_the_fallback_and_the_file():
    with pytest.raises(ValueError, match=r"recipe=default.*conf/recipe/scannet_nothing\.yaml"):
        compose("recipe=scannet_nothing")


def test_the_fallback_serves_every_pair():
    assert compose("dataset=semantickitti", "recipe=default").optimizer.lr == 2e-3


def test_another_optimizer_without_its_lr_is_refused_with_both_values():
    with pytest.raises(ValueError, match=r"lr 0\.002 .* adamw .*default of sgd is 0\.1"):
        compose("optimizer=sgd")
    assert compose("optimizer=sgd", "optimizer.lr=0.2").optimizer.lr == 0.2
    assert compose("optimizer=adamw").optimizer.lr == 0.002  # the recipe's own kind


@pytest.mark.parametrize("override", ["model.widht=3", "datset=scannet", "nokey=1"])
def test_an_unknown_key_is_named(override):
    with pytest.raises(ConfigCompositionException) as error:
        compose(override)
    assert override.split("=")[0].split(".")[-1] in str(error.value) + message(error.value)


def test_command_line_over_saved_over_defaults():
    saved_overrides = ["model=minkunet18a", "seed=5"]
    saved = compose(*saved_overrides)
    saved = OmegaConf.create(resolved(saved))
    saved.trainer.max_epochs = 77  # as if today's default were another than the run's
    config = layered(saved, saved_overrides, ["seed=6", "trainer=ddp_cpu"])
    assert config.seed == 6  # command line
    assert config.trainer.devices == 2
    assert config.callbacks.epoch_seed.seed == 6  # what depends on it follows
    assert config.trainer.max_epochs == 77  # saved
    assert list(config.model.depths) == [2] * 8
    assert config.paths.run_dir == "run"


def test_layering_replaces_a_whole_group():
    saved_overrides = ["dataset=semantickitti"]
    saved = OmegaConf.create(resolved(compose(*saved_overrides)))
    config = layered(saved, saved_overrides, ["dataset.reader.frames={test: [a/b]}"])
    assert config.dataset.reader.frames == {"test": ["a/b"]}
    assert config.dataset.voxel_size == 0.05
