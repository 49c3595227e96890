"""A trained network with all that it needs to label points: `pc3d.load(...).predict(xyz, ...)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pc3d.data.collate import collate
from pc3d.data.features import FEATURES, num_channels
from pc3d.data.sample import bounds, check_reach, read_points
from pc3d.data.spec import DatasetSpec
from pc3d.data.transforms.base import Transform
from pc3d.data.voxelize import Voxelize
from pc3d.inference.windows import Rows, Scores, bounded_extent, columns, votes
from pc3d.models.api import ordinary
from pc3d.models.weights import Weights, build_network
from pc3d.sparse import Batch
from pc3d.tasks.tiling import predict_points
from pc3d.utils.trusted import build_trusted

MAX_POINTS = 2_000_000
"""Points in a square of a window's size on a grid; windows get smaller until it is kept, to bound
memory. A window across four squares may hold up to four times as many."""
MAX_VOXELS = 400_000
"""Budget of one forward pass, see `pc3d.tasks.tiling`."""
MAX_OVERLAP = 0.9
MAX_WINDOWS = 1_000_000
"""Along a side: there is a list of all of them."""
_SHAPES = {"color": (3,), "normal": (3,), "returns": (2,)}
_TRANSFORMS = ("pc3d.data.transforms",)


class Prediction(NamedTuple):
    """What is said of P points, in input order.

    Attributes:
        classes: [P] int64, places in `Predictor.spec.class_names`.
        confidence: [P] float32, the probability of that class.
        probabilities: [P, C] float32, or None if they were not asked for.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Predictor:
    """A network in evaluation mode, and what the data that it was trained on looked like.

    Attributes:
        network: from a batch to scores.
        spec: its classes.
        voxelize: voxel size in metres, and the features that it is given.
        transforms: what happens to a scene before.
        extent: metres, side of the square windows that large scenes are cut into: that of the
            largest scene in training, whose features such as height refer to it; None looks at a
            scene as a whole.
        facts: all that the weights say of themselves.
    """

    network: nn.Module
    spec: DatasetSpec
    voxelize: Voxelize
    transforms: tuple[Transform, ...]
    extent: float | None
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, weights: Weights, device: torch.device | str = "cpu") -> Predictor:
        """Build the network of some weights on a device.

        Raises:
            ValueError: weights that are not of pc3d, or of an older one that said too little.
        """
        facts = weights.facts
        missing = [
            key for key in ("spec", "features", "voxel_size", "transforms") if key not in facts
        ]
        if missing:
            raise ValueError(
                f"{weights.source} does not say its {', '.join(missing)}: it was written by an "
                "older pc3d. Export it from its run: pc3d export run=<run folder> out=<file>."
            )
        spec = spec_of(facts["spec"], weights.source)
        voxelize = Voxelize(voxel_size=facts["voxel_size"], features=tuple(facts["features"]))
        transforms = build_trusted(list(facts["transforms"]), _TRANSFORMS, weights.source)
        network = build_network(weights, num_channels(voxelize.features), spec.num_classes)
        return cls(
            network=ordinary(network).to(device),
            spec=spec,
            voxelize=voxelize,
            transforms=tuple(transforms),
            extent=facts.get("extent"),
            facts=facts,
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of `PointSample` that the features need, besides the coordinates."""
        needed = dict.fromkeys(FEATURES[name].field for name in self.voxelize.features)
        return tuple(field for field in needed if field != "xyz")

    def predict(
        self,
        xyz: NDArray[np.floating],
        color: NDArray[Any] | None = None,
        *,
        normal: NDArray[Any] | None = None,
        intensity: NDArray[Any] | None = None,
        returns: NDArray[Any] | None = None,
        extent: float | None = None,
        overlap: float = 0.25,
        probabilities: bool = False,
    ) -> Prediction:
        """Label points.

        Args:
            xyz: [P, 3] metres, of any origin.
            color: [P, 3], 0..255.
            normal: [P, 3] unit vectors.
            intensity: [P], in the scale of the training data.
            returns: [P, 2] number of the return, and returns of its pulse.
            extent: metres, side of the windows; that of the training data unless given.
            overlap: share of a window that the next one covers too; scores are averaged there.
            probabilities: whether to return those of all classes.

        Raises:
            ValueError: arrays that do not fit, coordinates that are not finite, or a field that the
                network needs is missing.
        """
        given = {"color": color, "normal": normal, "intensity": intensity, "returns": returns}
        fields = {name: np.asarray(array) for name, array in given.items() if array is not None}
        xyz = np.asarray(xyz)
        check_cloud(xyz, fields, self.fields)
        if color is not None:
            check_colors(fields["color"])
        num_points, num_classes = len(xyz), self.spec.num_classes
        classes = np.empty(num_points, dtype=np.int64)
        confidence = np.empty(num_points, dtype=np.float32)
        kept = np.empty((num_points, num_classes), np.float32) if probabilities else None
        for rows, scores in self.scores(xyz, fields, extent, overlap):
            classes[rows] = scores.argmax(axis=1)
            confidence[rows] = scores.max(axis=1)
            if kept is not None:
                kept[rows] = scores
        return Prediction(classes, confidence, kept)

    def scores(
        self,
        xyz: NDArray[np.floating],
        fields: Mapping[str, NDArray[Any]],
        extent: float | None = None,
        overlap: float = 0.25,
    ) -> Iterator[tuple[Rows, Scores]]:
        """The probabilities of points, part by part.

        Args:
            xyz: [P, 3] metres.
            fields: [P, ...] arrays of `PointSample`, as far as they are there.
            extent: metres, side of the windows; that of the training data unless given.
            overlap: share of a window that the next one covers too, 0 to 0.9.

        Yields:
            [Q] rows and their [Q, C] probabilities; every row comes once.
        """
        check_cloud(xyz, fields, self.fields)
        if not 0 <= overlap <= MAX_OVERLAP:
            raise ValueError(f"overlap is a share, 0 to {MAX_OVERLAP}; got {overlap}")
        side = self.extent if extent is None else extent
        if side is not None and not side > 0:
            raise ValueError(f"extent must be a positive number of metres; got {side}")
        if xyz.dtype not in (np.float32, np.float64):
            xyz = xyz.astype(np.float64)  # differences of small integers overflow
        side = bounded_extent(xyz[:, :2], inf if side is None else side, MAX_POINTS)
        low, high = bounds(xyz[:, :2])
        if (high - low).max() > MAX_WINDOWS * side:
            raise ValueError(
                f"the points reach over {(high - low).max():.4g} m, which is more than "
                f"{MAX_WINDOWS:,} windows of {side:.4g} m: are both metres?"
            )

        def score(rows: Rows) -> Scores:
            return self._score(xyz[rows], {name: array[rows] for name, array in fields.items()})

        yield from votes(columns(xyz[:, :2], side, overlap), score, self.spec.num_classes)

    def batch(self, xyz: NDArray[np.floating], fields: Mapping[str, NDArray[Any]]) -> Batch:
        """What the network is given of the points of one window, on its device.

        Arguments and errors are those of `scores`.
        """
        arrays = {name: np.asarray(array, dtype=np.float32) for name, array in fields.items()}
        sample = read_points("window", "the points", xyz, **arrays)
        for transform in self.transforms:
            sample = transform(sample, np.random.default_rng(0))
        device = next(self.network.parameters()).device
        return collate([self.voxelize(sample)]).to(device)

    @torch.inference_mode()
    def _score(self, xyz: NDArray[np.floating], fields: Mapping[str, NDArray[Any]]) -> Scores:
        """[Q, C] probabilities of the points of one window."""
        scores = predict_points(self.network, self.batch(xyz, fields), MAX_VOXELS).softmax(dim=1)
        found: Scores = scores.cpu().numpy()
        return found


def check_cloud(
    xyz: NDArray[np.floating], fields: Mapping[str, NDArray[Any]], needed: Sequence[str]
) -> None:
    """Refuse points that no network could label, before any work is done.

    Args:
        xyz: [P, 3].
        fields: arrays of `PointSample`.
        needed: those that must be there.

    Raises:
        ValueError: says what was got and what to do.
    """
    if xyz.ndim != 2 or xyz.shape[1] != 3 or xyz.dtype.kind not in "fiu":
        raise ValueError(f"xyz must be numbers [P, 3]; got {xyz.dtype} {list(xyz.shape)}")
    if len(xyz) == 0:
        raise ValueError("there are no points to label")
    num_bad = len(xyz) - int(np.isfinite(xyz).all(axis=1).sum())
    if num_bad:
        raise ValueError(
            f"{num_bad} of {len(xyz)} points have NaN or infinite coordinates; leave them out"
        )
    check_reach("the points", xyz)
    for name, array in fields.items():
        expected = (len(xyz), *_SHAPES.get(name, ()))
        if array.shape != expected or array.dtype.kind not in "fiub":
            raise ValueError(
                f"{name} must be numbers {list(expected)}; got {array.dtype} {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are NaN or infinite; leave such points out")
    missing = [name for name in needed if name not in fields]
    if missing:
        raise ValueError(
            f"this network needs the {' and '.join(missing)} of every point, and there "
            f"{'is' if len(missing) == 1 else 'are'} none. Use data that has it, or weights that "
            "do without."
        )


def check_colors(color: NDArray[Any]) -> None:
    """Refuse colours of another scale than 0..255.

    Raises:
        ValueError: says which scale they seem to have.
    """
    low, high = float(color.min()), float(color.max())
    if low < 0 or high > 255:
        raise ValueError(f"color must be 0..255; got {low:g}..{high:g}. Colours of 16 bits / 257")
    if color.dtype.kind == "f" and 0 < high <= 1:
        raise ValueError(f"color must be 0..255; got {low:g}..{high:g}. Multiply by 255")


def spec_of(facts: Mapping[str, Any], source: str) -> DatasetSpec:
    """The label space that the facts of some weights hold.

    Raises:
        ValueError: they hold none; `source` is named.
    """
    try:
        return DatasetSpec(
            name=facts["name"],
            class_names=tuple(facts["class_names"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in facts["palette"]),
            raw_ids=tuple(facts["raw_ids"]),
            # JSON has no keys that are numbers.
            raw_to_class={int(raw): int(known) for raw, known in facts["raw_to_class"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: its label space is damaged ({error!r})") from error
