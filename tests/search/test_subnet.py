"""The configuration of a found network, which is trained from nothing of the supernet's run."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from torch import nn

from pc3d.models.modes import evaluating
from pc3d.search.subnet import of_data, subnet_config


def test_what_the_supernet_started_from_is_left_out():
    saved = OmegaConf.create(
        {
            "task": {"_target_": "pc3d.search.SupernetTask", "sandwich": {}, "holdout": 0.1},
            "model": {"_target_": "pc3d.search.supernet.Supernet"},
            "init_from": "a.ckpt",
            "seed": 3,
        }
    )
    OmegaConf.set_struct(saved, True)
    config = subnet_config(saved, {"_target_": "pc3d.models.StagedUNet"})
    assert config.task == {"_target_": "pc3d.tasks.SegmentationTask", "holdout": 0.1}
    assert config.init_from is config.finetune is config.resume is None
    assert config.seed == 3 and saved.init_from == "a.ckpt"


def test_overrides_of_network_and_task_are_left_out():
    given = ["model=x", "+model.a=1", "task.holdout=0.1", "dataset.voxel_size=0.1", "~model.b"]
    assert of_data(given) == ["dataset.voxel_size=0.1"]


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_ends_also_with_an_error(training):
    network = nn.Sequential(nn.Dropout()).train(training)
    with pytest.raises(KeyError), evaluating(network):
        assert not network[0].training
        raise KeyError
    assert network[0].training == training
