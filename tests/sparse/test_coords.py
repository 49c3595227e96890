"""`CoordSet`: what it refuses, what it remembers, what it forgets, and that nothing leaks."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator

import pytest
import torch

import cuda_ops
from pc3d.sparse import DOWN, CoordSet, KernelSpec, SparseTensor, conv
from tests import oracle
from tests.attack import CLOUDS, WIDE, asymmetric
from tests.parity import coords_of

CUBE = KernelSpec(3)


def coords(*rows: tuple[int, int, int, int], batch_size: int = 1) -> CoordSet:
    return CoordSet(torch.tensor(rows, dtype=torch.int32).reshape(-1, 4), batch_size)


@pytest.mark.parametrize("name", WIDE)
def test_rows_are_those_of_the_oracle(name):
    cloud = WIDE[name]
    ours = coords_of(cloud)
    assert oracle.rows_of(ours.indices) == cloud.rows
    assert (len(ours), ours.batch_size, ours.stride) == (len(cloud.rows), cloud.batch_size, 1)
    assert ours.keys.tolist() == [oracle.key(row) for row in cloud.rows]


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 0, 0, 1), (0, 0, 0, 0)],
        [(0, 0, 0, 0), (0, 0, 0, 0)],
        [(1, 0, 0, 0), (0, 0, 0, 0)],
        [(0, 0, 2, 0), (0, 0, 0, 3)],  # in lexicographic order, not in key order, if reversed
        [(0, 0, 0, 0), (0, -1, 0, 0)],
    ],
    ids=["unsorted", "duplicate", "clouds", "z before y", "negative last"],
)
def test_refuses_rows_out_of_key_order(rows):
    with pytest.raises(ValueError, match="key order"):
        coords(*rows, batch_size=2)


def test_key_order_is_not_lexicographic():
    assert len(coords((0, 0, 0, 3), (0, 0, 2, 0), (0, 1, 2, 0), (0, 0, 0, 4))) == 4


@pytest.mark.parametrize("batch_size, legal", [(1, False), (2, True), (5, True)])
def test_batch_size_covers_every_row(batch_size, legal):
    rows = [(0, 0, 0, 0), (1, 0, 0, 0)]
    if legal:
        assert coords(*rows, batch_size=batch_size).batch_size == batch_size
    else:
        with pytest.raises(ValueError, match="batch_size=1"):
            coords(*rows, batch_size=batch_size)


def test_refuses_other_dtypes():
    with pytest.raises(ValueError, match="int32"):
        CoordSet(torch.zeros(1, 4, dtype=torch.int64), 1)


@pytest.mark.parametrize("name", [*CoordSet.__slots__[1:], "something_new"])
def test_is_immutable(name):
    with pytest.raises(AttributeError, match="immutable"):
        setattr(coords((0, 0, 0, 0)), name, None)


def test_equality_is_identity():
    a, b = coords((0, 0, 0, 0)), coords((0, 0, 0, 0))
    assert a == a and a != b and len({a, b}) == 2


def test_relations_are_computed_once():
    ours = coords_of(CLOUDS["two"])
    assert ours.neighbors(CUBE) is ours.neighbors(KernelSpec(3))
    assert ours.neighbors(CUBE) is not ours.neighbors(KernelSpec(3, dilation=2))
    coarse, down = ours.down()
    assert ours.down()[0] is coarse and ours.down()[1] is down
    assert (coarse.stride, coarse.down()[0].stride) == (2, 4)
    assert coarse.batch_size == ours.batch_size


def test_neighbors_takes_no_stride():
    with pytest.raises(ValueError, match=r"down\(\)"):
        coords((0, 0, 0, 0)).neighbors(DOWN)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("spec", [CUBE, KernelSpec(5, dilation=2, shape="cross")], ids=str)
def test_maps_and_their_transposes_hold_the_same_pairs(name, spec):
    ours = coords_of(WIDE[name])
    for kernel_map in (ours.neighbors(spec), ours.down()[1], ours.down()[1].transposed):
        pairs = set()
        for tap, row in enumerate(kernel_map.table.tolist()):
            pairs |= {(tap, n, m) for m, n in enumerate(row) if n >= 0}
        back = set()
        for tap, row in enumerate(kernel_map.transposed.table.tolist()):
            back |= {(tap, n, m) for n, m in enumerate(row) if m >= 0}
        assert pairs == back
        assert kernel_map.num_pairs == len(pairs)


def test_every_fine_voxel_has_one_parent_and_one_tap():
    ours = coords_of(CLOUDS["negative"])
    _, down = ours.down()
    assert ((down.table_t >= 0).sum(dim=0) == 1).all()
    assert down.num_pairs == len(ours)


def warm(ours: CoordSet) -> CoordSet:
    ours.neighbors(CUBE)
    ours.down()[0].neighbors(CUBE)
    return ours


def test_pickles_without_caches():
    cold, ours = coords_of(CLOUDS["two"]), warm(coords_of(CLOUDS["two"]))
    assert len(pickle.dumps(ours)) == len(pickle.dumps(cold))
    back = pickle.loads(pickle.dumps(ours))
    assert torch.equal(back.indices, ours.indices) and torch.equal(back.keys, ours.keys)
    assert (back.batch_size, back.stride) == (ours.batch_size, ours.stride)
    assert torch.equal(back.neighbors(CUBE).table, ours.neighbors(CUBE).table)
    coarse = pickle.loads(pickle.dumps(ours.down()[0]))
    assert coarse.stride == 2


def test_deepcopy_is_another_set():
    ours = warm(coords_of(CLOUDS["two"]))
    other = copy.deepcopy(ours)
    assert other is not ours and torch.equal(other.indices, ours.indices)


def test_nbytes_counts_tables_and_clear_forgets_them():
    ours = coords_of(CLOUDS["two"])
    cold = ours.nbytes
    assert cold == len(ours) * (4 * 4 + 8)
    before = ours.neighbors(CUBE)
    coarse, _ = ours.down()
    tables = 27 * 4 * len(ours) + 8 * 4 * (len(ours) + len(coarse))
    assert ours.nbytes == cold + tables + coarse.nbytes
    coarse.neighbors(CUBE)
    assert ours.nbytes == cold + tables + coarse.nbytes
    ours.clear()
    assert ours.nbytes == cold
    again = ours.neighbors(CUBE)
    assert again is not before and torch.equal(again.table, before.table)
    assert ours.down()[0] is not coarse


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
def test_memory_is_freed_with_the_last_reference():
    """A U-Net's way down and up with gradients; then everything dies without the collector."""
    ours = coords_of(CLOUDS["two"])
    coarse, down = ours.down()
    weight = asymmetric(8, 3, 3).requires_grad_()
    x = SparseTensor(ours, asymmetric(len(ours), 3))
    y = conv(conv(x, weight, coarse, DOWN), weight, ours, DOWN)
    z = conv(y, asymmetric(27, 3, 3), ours, CUBE)
    z.feats.sum().backward()
    dying = [weakref.ref(o) for o in (ours, coarse, down, ours.neighbors(CUBE))]
    assert all(ref() is not None for ref in dying)
    del ours, coarse, down, x, y, z
    assert [ref() for ref in dying] == [None] * 4


def test_to_the_same_device_is_the_same_set():
    ours = coords_of(CLOUDS["two"])
    assert ours.to("cpu") is ours


def test_to_another_device_leaves_maps_behind():
    moved = warm(coords_of(CLOUDS["two"])).to("meta")
    assert moved.device.type == "meta"
    assert moved.nbytes == len(moved) * 24
    assert (moved.batch_size, moved.stride) == (2, 1)


def test_select_is_a_set_of_its_own():
    cloud = CLOUDS["three, one empty"]
    ours = warm(coords_of(cloud))
    rows = torch.arange(1, len(ours), 3)
    part = ours.select(rows)
    kept = cloud.rows[1::3]
    assert oracle.rows_of(part.indices) == kept
    assert part.keys.tolist() == [oracle.key(row) for row in kept]
    assert (part.batch_size, part.stride) == (3, 1)
    table = part.neighbors(CUBE).table.tolist()
    assert table == oracle.neighbor_table(kept, oracle.offsets(3))
    assert len(ours.select(rows[:0])) == 0


def test_repr_names_what_matters():
    text = repr(coords((0, 1, 2, 3), batch_size=4).down()[0])
    assert text == "CoordSet(1 voxels, batch_size=4, stride=2, device=cpu)"


def test_empty_set():
    none = CoordSet(torch.empty(0, 4, dtype=torch.int32), 2)
    assert none.neighbors(CUBE).table.shape == (27, 0)
    coarse, down = none.down()
    assert (len(coarse), down.table.shape, down.table_t.shape) == (0, (8, 0), (8, 0))


def test_coarse_keys_are_keys_of_coarse_coordinates():
    for cloud in WIDE.values():
        coarse = coords_of(cloud).down()[0]
        assert torch.equal(coarse.keys, cuda_ops.morton_encode(coarse.indices))
