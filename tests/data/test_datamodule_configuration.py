"""The data module as Hydra builds it."""

from __future__ import annotations

import json

import hydra.utils
import pytest
from hydra.errors import InstantiationException

from pc3d.data.datasets import SemanticKITTI


def test_it_can_be_built_from_a_configuration(kitti_root, tmp_path):
    """Also with lists of OmegaConf's own type, and in workers."""
    config = {
        "_target_": "pc3d.data.datamodule.SegmentationDataModule",
        "reader": {
            "_target_": "pc3d.data.datasets.SemanticKITTI",
            "root": str(kitti_root),
            "frames": {"train": ["00/000000", "00/000001"], "val": ["extra/000964"]},
        },
        "voxel_size": 1.0,
        "features": ["xyz", "intensity"],
        "augment": {
            "_target_": "pc3d.data.transforms.Augmentation",
            "_convert_": "all",
            "train": [
                {
                    "_target_": "pc3d.data.transforms.RandomRotate",
                    "center": [0.0, 0.0, 0.0],
                    "angle": [-0.5, 0.5],
                    "p": 1.0,
                },
                {"_target_": "pc3d.data.transforms.RandomScale", "scale": [0.95, 1.05]},
                {"_target_": "pc3d.data.transforms.RandomShift", "max_shift": [0.2, 0.2, 0.2]},
                {
                    "_target_": "pc3d.data.transforms.ElasticDistortion",
                    "distortion_params": [[0.5, 0.4], [2.0, 1.6]],
                    "p": 1.0,
                },
            ],
            "eval": [],
        },
        "max_voxels": 1000,
        "max_scenes": 2,
        "num_workers": 1,
        "seed": 0,
        "cache_dir": str(tmp_path),
        "prepare": None,
    }
    datamodule = hydra.utils.instantiate(config)
    (batch,) = datamodule.train_dataloader()
    assert sorted(batch.points.names) == ["00/000000", "00/000001"]
    assert isinstance(datamodule.reader, SemanticKITTI)
    json.dumps(datamodule.facts())


def test_augmentation_without_conversion_says_what_to_write():
    """Hydra turns dataclasses in a list into nodes of the configuration, which nobody can call."""
    config = {
        "_target_": "pc3d.data.transforms.Augmentation",
        "train": [{"_target_": "pc3d.data.transforms.RandomFlip"}],
    }
    with pytest.raises(InstantiationException, match=r"_convert_=.all"):
        hydra.utils.instantiate(config)
