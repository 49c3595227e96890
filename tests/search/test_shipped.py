"""The supernets of `conf/model`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.test_sizes import SUPERNETS, build, num_parameters
from tests.profiling.scenes import make_batch

LARGEST = {
    "minkunet_supernet": ("minkunet_m", {}),
    "spvcnn_supernet": ("spvcnn_m", {"stem_depth": 2}),
    "voxel_tr_supernet": ("voxel_tr", {}),
    "voxel_tr_supernet_s": ("voxel_tr", {}),
}
"""The ordinary model that the largest network is, but for widths, depths and stem."""


@pytest.mark.parametrize("name", SUPERNETS)
def test_the_largest_network_is_an_ordinary_model(name):
    net = build(4, 20, f"+model={name}")
    model, options = LARGEST[name]
    stages = net.space.largest.stages
    options = options | {
        "widths": [stage.width for stage in stages],
        "depths": [stage.depth for stage in stages],
        "stem_channels": net.widths[0],
    }
    overrides = [f"model.{key}={value}".replace(" ", "") for key, value in options.items()]
    ordinary, largest = build(4, 20, f"+model={model}", *overrides), net.extract()
    assert num_parameters(largest) == num_parameters(ordinary)
    ordinary.load_state_dict(largest.state_dict())
    batch = make_batch(200)
    with torch.no_grad():
        assert torch.equal(largest.eval()(batch).logits, ordinary.eval()(batch).logits)


@pytest.mark.parametrize("name", SUPERNETS)
def test_some_networks_of_each(name):
    torch.manual_seed(0)
    net = build(4, 20, f"+model={name}").eval()
    batch, rng = make_batch(300), np.random.default_rng(0)
    with torch.no_grad():
        for arch in (net.largest, net.space.smallest, net.space.sample(rng), net.space.sample(rng)):
            logits = net(batch, arch).logits
            assert torch.equal(logits, net.extract(arch)(batch).logits)
            assert logits.shape == (len(batch.voxels.coords), 20) and logits.isfinite().all()
