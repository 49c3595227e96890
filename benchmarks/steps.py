"""One training step of MinkUNet14A by every contestant, on the same input and weights.

Hydra is imported where a network is built: all else here works without it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import ours
from benchmarks.peers import SPCONV
from benchmarks.spconv_unet import SpconvMinkUNet
from pc3d.models import MinkUNet
from pc3d.nn.conv import SparseConv3d
from pc3d.sparse import Batch, CoordSet, PointBatch, SparseTensor

CONF = Path(__file__).resolve().parents[1] / "conf" / "model" / "minkunet14a.yaml"
IN_CHANNELS, NUM_CLASSES = 4, 20
LEARNING_RATE, MOMENTUM = 0.01, 0.9
Step = Callable[[], float]
"""Forward, loss, backward, optimizer step, with kernel maps built anew; returns the loss."""


@dataclass(frozen=True)
class Problem:
    """What is trained on.

    Attributes:
        indices: [N, 4] int32, in the row order of `CoordSet`.
        feats: [N, 4] float32.
        labels: [N] int64, 20 classes.
    """

    indices: Tensor
    feats: Tensor
    labels: Tensor

    @classmethod
    def random(cls, indices: Tensor, seed: int = 0) -> Problem:
        """Random features and labels on given voxels, on their device."""
        generator = torch.Generator().manual_seed(seed)
        feats = torch.randn(len(indices), IN_CHANNELS, generator=generator)
        labels = torch.randint(NUM_CLASSES, (len(indices),), generator=generator)
        return cls(indices, feats.to(indices.device), labels.to(indices.device))

    def batch(self) -> Batch:
        """The voxels as a batch of one cloud with a point in each, on a fresh `CoordSet`."""
        size, device = len(self.indices), self.indices.device
        rows = torch.arange(size, device=device)
        points = PointBatch(
            names=("cloud",),
            offsets=torch.tensor([0, size], device=device),
            xyz=self.indices[:, 1:].float(),
            origin=torch.zeros(1, 3, dtype=torch.float64, device=device),
            row=rows,
        )
        coords = CoordSet(self.indices, batch_size=1)
        return Batch(points, SparseTensor(coords, self.feats), rows)


def build_network(seed: int = 0) -> MinkUNet:
    """MinkUNet14A with the weights of a seed; torch's own generator is left as it was."""
    from omegaconf import OmegaConf

    sizes: Any = OmegaConf.to_container(OmegaConf.load(CONF))
    del sizes["_target_"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MinkUNet(in_channels=IN_CHANNELS, num_classes=NUM_CLASSES, **sizes)


def build_model(name: str) -> nn.Module:
    """A network of `conf/model` for the same inputs and classes."""
    from hydra.utils import instantiate

    from pc3d.cli.config import compose_config

    config = compose_config("config", [f"model={name}"])
    sizes = {"in_channels": IN_CHANNELS, "num_classes": NUM_CLASSES}
    network: nn.Module = instantiate(config.model, **sizes, _convert_="all")
    return network


def training_step(contestant: str, network: MinkUNet, problem: Problem) -> Step:
    """A step of a contestant, with weights of its own that start as those of `network`."""
    network = copy.deepcopy(network).to(problem.indices.device)
    if contestant in SPCONV:
        theirs = SpconvMinkUNet(network)
        return _step(theirs, lambda: theirs(problem.feats, problem.indices), problem.labels)
    own = _step(network, lambda: network(problem.batch()).logits, problem.labels)
    step = ours(contestant, own)
    return step  # type: ignore[return-value]


def _step(network: nn.Module, forward: Callable[[], Tensor], labels: Tensor) -> Step:
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(forward(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def training_gflop(network: MinkUNet, problem: Problem) -> float:
    """Useful work of a step: every layer forward, by weight and by input.

    Two operations per pair and pair of channels. The first layer has no gradient by its input;
    normalization and activation are not counted.
    """
    work: list[int] = []

    def of_conv(module: nn.Module, inputs: tuple[Any, ...], output: SparseTensor) -> None:
        assert isinstance(module, SparseConv3d)
        source, target = inputs[0].coords, output.coords
        # Under a stride every fine voxel has exactly one tap.
        pairs = max(len(source), len(target))
        if module.spec.stride == 1:
            pairs = source.neighbors(module.spec).num_pairs
        work.append(2 * pairs * module.in_channels * module.out_channels)

    def of_linear(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        assert isinstance(module, nn.Linear)
        rows = output.feats if isinstance(output, SparseTensor) else output
        work.append(2 * len(rows) * module.in_features * module.out_features)

    counted = copy.deepcopy(network).to(problem.indices.device)
    for module in counted.modules():
        if isinstance(module, SparseConv3d):
            module.register_forward_hook(of_conv)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(of_linear)
    with torch.no_grad():
        counted(problem.batch())
    return 1e-9 * (3 * sum(work) - work[0])
