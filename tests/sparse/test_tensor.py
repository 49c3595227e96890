"""`SparseTensor`: frozen, and only tensors on one set are combined."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pc3d.sparse import SparseTensor
from tests.attack import CLOUDS, asymmetric
from tests.parity import coords_of


@pytest.fixture
def x() -> SparseTensor:
    coords = coords_of(CLOUDS["two"])
    return SparseTensor(coords, asymmetric(len(coords), 3))


def test_with_feats_keeps_the_coordinates_and_leaves_the_original(x):
    before = x.feats.clone()
    y = x.with_feats(x.feats[:, :1] * 2)
    assert y.coords is x.coords
    assert (y.num_channels, x.num_channels) == (1, 3)
    assert torch.equal(x.feats, before)


def test_is_frozen(x):
    with pytest.raises(dataclasses.FrozenInstanceError):
        x.feats = x.feats * 2


@pytest.mark.parametrize("shape", [(5, 3), (0, 3)])
def test_refuses_another_number_of_rows(x, shape):
    with pytest.raises(ValueError, match=str(len(x.coords))):
        x.with_feats(torch.zeros(shape))


def test_refuses_flat_features(x):
    with pytest.raises(ValueError, match="one row per voxel"):
        x.with_feats(torch.zeros(len(x.coords)))


def test_add_and_cat_on_the_same_set(x):
    other = x.with_feats(asymmetric(len(x.coords), 3, seed=1))
    assert torch.equal((x + other).feats, x.feats + other.feats)
    both = x.cat(x.with_feats(other.feats[:, :2]))
    assert torch.equal(both.feats, torch.cat([x.feats, other.feats[:, :2]], dim=1))
    assert (x + other).coords is both.coords is x.coords


@pytest.mark.parametrize(
    "combine, verb", [(SparseTensor.__add__, "add"), (SparseTensor.cat, "concatenate")]
)
def test_refuses_other_sets_even_equal_ones(x, combine, verb):
    twin = coords_of(CLOUDS["two"])
    coarse = x.coords.down()[0]
    for coords in (twin, coarse):
        other = SparseTensor(coords, torch.zeros(len(coords), 3, dtype=torch.float64))
        with pytest.raises(ValueError, match=rf"{verb}(?s:.*)[Uu]psample"):
            combine(x, other)


def test_to_moves_both(x):
    moved = x.to("meta")
    assert moved.coords.device.type == moved.feats.device.type == "meta"
    assert x.to("cpu").coords is x.coords
