"""One 3x3x3 convolution, done by every contestant in every phase of training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Run, ours, using_threads
from benchmarks.peers import SPCONV, Grid, from_spconv_weight, spconv_submanifold
from pc3d.sparse import CoordSet, KernelSpec, SparseTensor, conv

CUBE = KernelSpec(3)
FORWARD, BOTH = "forward", "forward + backward"
WEIGHT_GRADIENT, INPUT_GRADIENT = "weight gradient", "input gradient"
WORK = {FORWARD: 1, WEIGHT_GRADIENT: 1, INPUT_GRADIENT: 1, BOTH: 3}
"""Convolutions' worth of multiply-adds in each phase."""
NUM_CHECKS = 5
TOLERANCE = 1e-4
"""Of the largest value: float32 sums over up to 27 C_in (or N) terms in different orders."""


@dataclass(frozen=True)
class Layer:
    """A convolution and what it is fed with.

    Attributes:
        coords: the N voxels.
        x: [N, C_in] float32.
        weight: [27, C_in, C_out] float32.
        grad: [N, C_out] float32, gradient of the loss by the output.
    """

    coords: CoordSet
    x: Tensor
    weight: Tensor
    grad: Tensor

    @classmethod
    def random(cls, coords: CoordSet, num_in: int, num_out: int, seed: int = 0) -> Layer:
        """Normally distributed values."""
        generator = torch.Generator().manual_seed(seed)
        shapes = (len(coords), num_in), (CUBE.num_taps, num_in, num_out), (len(coords), num_out)
        random = (torch.randn(shape, generator=generator).to(coords.device) for shape in shapes)
        return cls(coords, *random)

    @property
    def gflop(self) -> float:
        """Useful work of one forward pass: two operations per pair and pair of channels."""
        pairs = self.coords.neighbors(CUBE).num_pairs
        return 2e-9 * pairs * self.weight.shape[1] * self.weight.shape[2]

    def phases(self, contestant: str) -> dict[str, Run]:
        """What is timed, by phase; maps are built before."""
        if contestant in SPCONV:
            return self._spconv_phases()
        runs = self._our_phases(contestant)
        return {phase: ours(contestant, run) for phase, run in runs.items()}

    def _our_phases(self, contestant: str) -> dict[str, Run]:
        leaf_x, leaf_weight = self.x.clone(), self.weight.clone()
        leaves = (leaf_x.requires_grad_(), leaf_weight.requires_grad_())

        def convolve(x: Tensor, weight: Tensor) -> Tensor:
            return conv(SparseTensor(self.coords, x), weight, self.coords, CUBE).feats

        def forward() -> Tensor:
            with torch.no_grad():
                return convolve(self.x, self.weight)

        def both() -> tuple[Tensor, ...]:
            y = convolve(*leaves)
            return y.detach(), *torch.autograd.grad(y, leaves, self.grad)

        # Graphs in which only one of the two has a gradient: their backward is that gradient alone.
        of_weight, of_x = convolve(self.x, leaf_weight), convolve(leaf_x, self.weight)
        return {
            FORWARD: forward,
            WEIGHT_GRADIENT: lambda: torch.autograd.grad(
                of_weight, leaf_weight, self.grad, retain_graph=True
            ),
            INPUT_GRADIENT: lambda: torch.autograd.grad(of_x, leaf_x, self.grad, retain_graph=True),
            BOTH: both,
        }

    def _spconv_phases(self) -> dict[str, Run]:
        grid = Grid.of(self.coords.indices)
        module = spconv_submanifold(self.weight, CUBE.size, "map")
        leaf = self.x.clone().requires_grad_()
        plain, tracked = grid.tensor(self.x), grid.tensor(leaf)
        # The first call leaves the map with the tensor, where later calls find it.
        mapped, tracked_map = module(plain), module(tracked)
        plain.indice_dict, tracked.indice_dict = mapped.indice_dict, tracked_map.indice_dict

        def forward() -> Tensor:
            with torch.no_grad():
                feats: Tensor = module(plain).features
                return feats

        def both() -> tuple[Tensor, ...]:
            y = module(tracked).features
            gradients = torch.autograd.grad(y, (leaf, module.weight), self.grad)
            return y.detach(), gradients[0], from_spconv_weight(gradients[1])

        return {FORWARD: forward, BOTH: both}


def largest_error(found: object, expected: object) -> float:
    """Largest difference of two tensors, or two tuples of them, relative to the largest value."""
    if isinstance(found, tuple) and isinstance(expected, tuple):
        return max(largest_error(a, b) for a, b in zip(found, expected, strict=True))
    assert isinstance(found, Tensor) and isinstance(expected, Tensor)
    return float((found - expected).abs().max() / expected.abs().max())


def check_equal(what: str, found: object, expected: object) -> None:
    """Compare a result with the reference's before anything is timed.

    Raises:
        RuntimeError: they differ by more than `TOLERANCE` of the largest value.
    """
    error = largest_error(found, expected)
    if not error < TOLERANCE:
        raise RuntimeError(
            f"{what} differs from the reference by {error:.1e} of the largest value (allowed: "
            f"{TOLERANCE:.0e}): they do not compute the same, so their times do not compare"
        )


def count_wrong(run: Run, expected: object, threads: int) -> int:
    """How many of `NUM_CHECKS` results with that many threads differ from `expected`."""
    with using_threads(threads):
        return sum(not largest_error(run(), expected) < TOLERANCE for _ in range(NUM_CHECKS))
