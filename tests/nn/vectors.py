"""Vectors, quantisers of them and the choice of a code by hand, for tests of `VectorQuantizer`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pc3d.nn.vector_quantize import VectorQuantizer
from tests.attack import asymmetric

METRICS = ["euclidean", "cosine"]
UPDATES = ["ema", "learnable"]
GRADIENTS = ["straight_through", "rotation"]
K, DIM = 5, 3


def quantizer(**options: object) -> VectorQuantizer:
    """A module in float64, so that formulas can be checked closely."""
    torch.manual_seed(0)
    return VectorQuantizer(**{"num_codes": K, "dim": DIM, **options}).double()


def batch(num: int = 40, seed: int = 1, scale: float = 1.5) -> Tensor:
    return scale * asymmetric(num, DIM, seed=seed)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_state(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def nearest_by_hand(x: Tensor, codes: Tensor) -> list[int]:
    """The smallest distance of all pairs, in Python's floats."""
    found = []
    for row in x.double().tolist():
        distances = [math.dist(row, code) for code in codes.double().tolist()]
        found.append(distances.index(min(distances)))
    return found
