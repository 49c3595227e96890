import numpy as np
import pytest

from pc3d.profiling import multiply_adds
from pc3d.search.predictors import (
    Level,
    Table,
    WorkModel,
    held_out,
    options_of,
    relative_error,
)
from pc3d.search.strategies import spread
from pc3d.sparse import CoordSet, KernelSpec
from tests.profiling.scenes import make_batch
from tests.search.spaces import supernet

LEVELS = [Level(1000, 9000), Level(250, 3000), Level(60, 700)]


@pytest.fixture(scope="module")
def net():
    return supernet()


@pytest.fixture(scope="module")
def archs(net):
    rng = np.random.default_rng(0)
    drawn = dict.fromkeys(spread(net.space, rng) for _ in range(120))
    return list(drawn)[:80]


def test_a_sum_over_blocks_is_learned(net, archs):
    values = np.array(
        [1.0 + sum(0.1 * s.depth for s in a.stages if s.block == "basic") for a in archs]
    )
    fit = WorkModel.fitted(net.space, LEVELS)
    assert relative_error(held_out(fit, archs, values), values) < 1e-6


def test_a_price_is_never_negative(net, archs):
    values = np.random.default_rng(0).random(len(archs)) + 0.5
    model = WorkModel.fitted(net.space, LEVELS)(archs, values)
    assert (model.prices >= 0).all()


def test_exact_work_of_real_networks_is_learned(net, archs):
    batch = make_batch(600)
    coords = CoordSet(batch.voxels.coords.indices, batch.voxels.coords.batch_size)
    levels = []
    for _ in range(3):
        levels.append(Level(len(coords), coords.neighbors(KernelSpec(3)).num_pairs))
        coords = coords.down()[0]
    macs = []
    for arch in archs:
        network = net.extract(arch).eval()
        macs.append(sum(multiply_adds(network, lambda n=network: n(batch)).values()))
    values = np.array(macs, dtype=float)
    model = relative_error(held_out(WorkModel.fitted(net.space, levels), archs, values), values)
    table = relative_error(held_out(Table.fitted(net.space), archs, values), values)
    assert model < 0.03
    assert model < table / 2


def test_a_table_adds_up_options(net, archs):
    rng = np.random.default_rng(1)
    prices = rng.random(options_of(net.space, archs).shape[1])
    values = 5 + options_of(net.space, archs) @ prices
    fit = Table.fitted(net.space, strength=1e-6)
    assert relative_error(held_out(fit, archs, values), values) < 1e-3
    assert relative_error(fit(archs, values)(archs), values) < 1e-4


def test_held_out_ones_are_not_learned_from(net, archs):
    values = np.random.default_rng(2).random(len(archs)) + 1
    changed = values.copy()
    changed[7] = 100.0
    fit = Table.fitted(net.space)
    before, after = held_out(fit, archs, values), held_out(fit, archs, changed)
    assert before[7] == after[7]
    assert not np.allclose(before, after)


def test_an_option_is_chosen_once(net, archs):
    chosen = options_of(net.space, archs)
    genes = [sum(v is not None for s in a.stages for v in vars(s).values()) for a in archs]
    assert chosen.sum(axis=1).tolist() == genes
    assert len(np.unique(chosen, axis=0)) == len(archs)


def test_relative_error():
    assert relative_error(np.array([1.1, 1.8]), np.array([1.0, 2.0])) == pytest.approx(0.1)
