"""Kernel shapes: their taps, in order, and what is refused."""

from __future__ import annotations

import pickle

import pytest

from pc3d.sparse import DOWN, KernelSpec
from tests import oracle


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("shape", ["cube", "cross"])
def test_offsets_are_those_of_conv3d(size, dilation, shape):
    spec = KernelSpec(size, dilation=dilation, shape=shape)
    assert list(spec.offsets) == oracle.offsets(size, dilation, shape)
    assert spec.num_taps == {"cube": size**3, "cross": 3 * size - 2}[shape]


@pytest.mark.parametrize("spec", [KernelSpec(3), KernelSpec(5, dilation=3, shape="cross")])
def test_reversed_taps_are_opposite_offsets(spec):
    """offset(tap) == -offset(K - 1 - tap), so `table.flip(0)` is the transposed table."""
    opposite = [tuple(-v for v in offset) for offset in reversed(spec.offsets)]
    assert list(spec.offsets) == opposite


def test_down_kernel_is_the_cube_of_two_with_z_fastest():
    assert list(DOWN.offsets) == [(k >> 2, k >> 1 & 1, k & 1) for k in range(8)]
    assert (DOWN.size, DOWN.stride) == (2, 2)


def test_specs_are_values():
    assert KernelSpec(3) == KernelSpec(3) != KernelSpec(3, dilation=2)
    assert len({KernelSpec(3), KernelSpec(3), KernelSpec(5)}) == 2
    spec = KernelSpec(3)
    assert spec.num_taps == 27  # computed before it travels
    assert pickle.loads(pickle.dumps(spec)) == spec
    with pytest.raises(AttributeError):
        spec.size = 5


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 2},
        {"size": 4},
        {"size": 7},
        {"size": 0},
        {"size": 3, "stride": 2},
        {"size": 2, "stride": 2, "dilation": 2},
        {"size": 2, "stride": 2, "shape": "cross"},
        {"size": 3, "stride": 3},
        {"size": 3, "dilation": 0},
        {"size": 3, "dilation": 1024},
        {"size": 5, "dilation": 512},
        {"size": 3, "shape": "ball"},
    ],
)
def test_refuses_other_kernels_and_says_what_it_got(arguments):
    with pytest.raises(ValueError, match=rf"got size={arguments['size']}"):
        KernelSpec(**arguments)


def test_longest_legal_reach():
    assert max(KernelSpec(3, dilation=1023).offsets) == (1023, 1023, 1023)
    assert max(KernelSpec(5, dilation=511).offsets) == (1022, 1022, 1022)
