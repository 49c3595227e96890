"""What the score of a class, or of one point, depends on: its gradient on the way back.

Saliency is the gradient of a score with respect to the input (Simonyan et al. 2014,
arXiv 1312.6034); the same gradient at the weights of the codes says what a choice contributes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pc3d.data.spec import DatasetSpec
from pc3d.models.point_transformer import PointTransformer
from pc3d.nn import Choice
from pc3d.nn.choice import observe_choices
from pc3d.sparse import Batch, SparseTensor
from pc3d.tasks.codebook import choices_of
from pc3d.tasks.tiling import tiles
from visualize.choices import level_of
from visualize.layers import AnyLayer, Scalars

EXPLAINED = ("saliency", "gain of choice")
"""Names of the layers."""

_DECADES = 4.0
"""Below a ten-thousandth of the largest, gradients are drawn alike."""


class Target(NamedTuple):
    """The score that is explained.

    Attributes:
        class_index: of which class; None: the one that is predicted at the point.
        row: of which point; None: all points that are predicted to be of the class.
    """

    class_index: int | None
    row: int | None


@dataclass(frozen=True)
class Attribution:
    """What P points contribute to a score.

    Attributes:
        saliency: [P] length of the gradient of the score with respect to the features of the
            point's voxel, >= 0.
        gains: by the name of a block with codebooks, [P]: to first order, how much the score would
            fall if the point's voxel weighed all codes of the block alike.
        score: the sum of the logits that are explained.
        num_points: how many they are.
        class_index: of which class.
    """

    saliency: NDArray[np.float32]
    gains: dict[str, NDArray[np.float32]]
    score: float
    num_points: int
    class_index: int


def parse_target(text: str, spec: DatasetSpec, xyz: NDArray[np.floating]) -> Target:
    """The score that a user names: `chair`, `1.2,3.4,0.5` or `chair@1.2,3.4,0.5`.

    Args:
        text: a class, a place in metres (the point next to it is meant), or both.
        spec: names of the classes.
        xyz: [P, 3] metres, as the place is given.

    Raises:
        ValueError: an unknown class, or a place that is not three numbers or is not in the scene.
    """
    name, at, place = text.rpartition("@")
    if not at and _numbers(text) is None:
        name, place = text, ""
    class_index = None
    if name:
        if name not in spec.class_names:
            raise ValueError(
                f"explain={text}: {name!r} is neither a class nor a place x,y,z; classes are "
                f"{', '.join(spec.class_names)}"
            )
        class_index = spec.class_names.index(name)
    if not place:
        return Target(class_index, None)
    numbers = _numbers(place)
    if numbers is None or len(numbers) != 3 or not np.isfinite(numbers).all():
        raise ValueError(f"explain={text}: a place is x,y,z in metres, such as 1.2,3.4,0.5")
    distance = np.linalg.norm(xyz - np.array(numbers), axis=1)
    row = int(distance.argmin())
    if distance[row] > 1.0:
        low, high = (", ".join(f"{x:.1f}" for x in corner) for corner in (xyz.min(0), xyz.max(0)))
        raise ValueError(
            f"explain={text}: the next point is {distance[row]:.1f} m away; the scene reaches "
            f"from {low} to {high}"
        )
    return Target(class_index, row)


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.removeprefix("[").removesuffix("]").split(",")]
    except ValueError:
        return None


def attribute(
    network: nn.Module, batch: Batch, max_voxels: int, target: Target
) -> Attribution | None:
    """Explain a score.

    Args:
        network: a `pc3d.models.SegmentationModel` in evaluation mode.
        batch: P points of one scene.
        max_voxels: budget of one pass, see `pc3d.tasks.tiling`: beyond it each point is scored, and
            explained, in the tile whose core holds it.
        target: the score.

    Returns:
        None if no point is predicted to be of the target's class.
    """
    point2voxel, num_points = batch.point2voxel, batch.points.num_points
    rows = torch.arange(num_points, device=point2voxel.device)
    choices = {} if isinstance(network, PointTransformer) else _choices(network)
    slope = torch.zeros_like(batch.voxels.feats)
    gains = {name: slope.new_zeros(num_points) for name in choices.values()}
    score, counted, class_index = 0.0, 0, target.class_index
    for context, core in tiles(batch.voxels.coords, max_voxels):
        tile, here = batch.select_voxels(context), context[point2voxel]
        mine = core[point2voxel[here]]
        if target.row is not None:
            mine &= rows[here] == target.row
        if not bool(mine.any()):
            continue
        feats = tile.voxels.feats.detach().requires_grad_()
        tile = dataclasses.replace(tile, voxels=SparseTensor(tile.voxels.coords, feats))
        with torch.enable_grad(), observe_choices(network) as seen:
            logits = network(tile).at_points(tile).float()[mine]
            if target.row is None:
                logits = logits[logits.argmax(dim=1) == class_index]
            elif class_index is None:
                class_index = int(logits.argmax())
            if len(logits) == 0:
                continue
            total = logits[:, class_index].sum()
        weights = {choices[name]: w for name, w in seen.items() if name in choices}
        weights = {name: w for name, w in weights.items() if w.requires_grad}
        slopes = torch.autograd.grad(total, [feats, *weights.values()], allow_unused=True)
        slope[context] += slopes[0]
        for (name, weight), of_weight in zip(weights.items(), slopes[1:], strict=True):
            if of_weight is not None:
                gain = (of_weight * (weight - 1 / weight.shape[1])).sum(dim=(1, 2)).detach()
                level = level_of(tile.voxels.coords, len(gain), name)
                gains[name][here] += gain[level.rows][tile.point2voxel]
        score, counted = score + float(total.detach()), counted + len(logits)
    if class_index is None or counted == 0:
        return None
    return Attribution(
        saliency=slope.norm(dim=1)[point2voxel].numpy(force=True),
        gains={name: gain.numpy(force=True) for name, gain in gains.items()},
        score=score,
        num_points=counted,
        class_index=class_index,
    )


def _choices(network: nn.Module) -> dict[str, str]:
    """The blocks that choose, by the full name of their choice."""
    full_names = [name for name, module in network.named_modules() if isinstance(module, Choice)]
    return dict(zip(full_names, choices_of(network), strict=True))


def attribution_layers(found: Attribution, block: str) -> list[AnyLayer]:
    """Saliency as its logarithm, and what the choice of a block contributes, of the largest.

    Args:
        found: of the scene's points.
        block: name of the block; the empty string, or one without codes, leaves its layer out.
    """
    largest = max(float(found.saliency.max(initial=0)), np.finfo(np.float32).tiny)
    floor = 10.0**-_DECADES
    decades = np.log10(np.maximum(found.saliency / largest, floor))
    meaning = "log10 of the gradient, largest 0"
    layers: list[AnyLayer] = [Scalars(EXPLAINED[0], decades, "", (-_DECADES, 0.0), meaning)]
    if block in found.gains:
        gain = found.gains[block]
        largest = float(np.abs(gain).max()) or 1.0
        meaning = "lowers \u2013 raises the score, largest 1"
        layers.append(Scalars(EXPLAINED[1], gain / largest, "", (-1.0, 1.0), meaning))
    return layers
