"""`conv`: parity with dense convolutions from points on, and the relations it refuses."""

from __future__ import annotations

import pytest
import torch

from pc3d.sparse import DOWN, KernelSpec, SparseTensor, conv
from tests.attack import CLOUDS, DEVICES, asymmetric
from tests.parity import (
    C_IN,
    check_down_and_up,
    check_gradient,
    check_points,
    check_submanifold,
    coords_of,
)

OCCUPIED = {name: cloud for name, cloud in CLOUDS.items() if cloud.rows}
SPECS = [
    KernelSpec(size, dilation=dilation, shape=shape)
    for size, dilation in [(1, 1), (3, 1), (3, 2), (5, 1), (5, 3)]
    for shape in ("cube", "cross")
]


@pytest.mark.parametrize("name", OCCUPIED)
def test_points_to_voxels(name):
    check_points(OCCUPIED[name])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", OCCUPIED)
def test_submanifold(name, spec, device):
    check_submanifold(OCCUPIED[name], spec, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OCCUPIED)
def test_down_and_up(name, device):
    check_down_and_up(OCCUPIED[name], device)


@pytest.mark.parametrize("spec", [KernelSpec(3), KernelSpec(3, dilation=2, shape="cross")], ids=str)
def test_gradient(spec):
    check_gradient(CLOUDS["three, one empty"], spec)


def test_no_voxels():
    coords = coords_of(CLOUDS["none"])
    x = SparseTensor(coords, torch.empty(0, 2))
    down = conv(x, torch.ones(8, 2, 3), coords.down()[0], DOWN)
    assert conv(down, torch.ones(8, 3, 4), coords, DOWN).feats.shape == (0, 4)
    assert conv(x, torch.ones(27, 2, 3), coords, KernelSpec(3)).feats.shape == (0, 3)


def refusals():
    coords, twin = coords_of(CLOUDS["two"]), coords_of(CLOUDS["two"])
    coarse, coarse_twin = coords.down()[0], twin.down()[0]
    cube = KernelSpec(3)
    return {
        "an equal set": (coords, twin, cube),
        "submanifold onto the coarse set": (coords, coarse, cube),
        "down onto itself": (coords, coords, DOWN),
        "down onto another's coarse set": (coords, coarse_twin, DOWN),
        "up onto another fine set": (coarse, twin, DOWN),
        "two levels at once": (coords, coarse.down()[0], DOWN),
        "two levels up": (coarse.down()[0], coords, DOWN),
    }


@pytest.mark.parametrize("case", refusals())
def test_refuses_sets_that_are_not_related(case):
    source, target, spec = refusals()[case]
    x = SparseTensor(source, asymmetric(len(source), C_IN))
    with pytest.raises(ValueError, match="out_coords"):
        conv(x, asymmetric(spec.num_taps, C_IN, 2), target, spec)


def test_the_way_up_uses_the_map_of_the_way_down():
    coords = coords_of(CLOUDS["two"])
    coarse, down = coords.down()
    y = conv(SparseTensor(coarse, asymmetric(len(coarse), 2)), asymmetric(8, 2, 3), coords, DOWN)
    assert y.coords is coords
    assert coords.down()[1] is down and down.transposed.table is down.table_t
