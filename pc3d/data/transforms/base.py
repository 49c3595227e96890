"""What a transform and a mix are, and how they state what they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import PointSample
from pc3d.data.spec import DatasetSpec


class Transform(Protocol):
    """A pure function of a sample and a random generator.

    It never modifies its sample, and the same sample and generator state give the same result. One
    that draws nothing and keeps every point in its place says so with a class attribute
    `legal_in_eval = True`; all others are for training only.

    A transform or mix that makes sense for one kind of scenes only says so with a class attribute:
    `for_lidar = True` (single scans with the sensor at zero) or `for_lidar = False` (others).
    """

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample: ...


class OtherScenes(Protocol):
    """What a mix may take points from: the other scenes of the split, as their files hold them.

    Attributes:
        spec: their label space.
    """

    @property
    def spec(self) -> DatasetSpec: ...

    def draw(self, rng: np.random.Generator) -> PointSample:
        """Read one scene, each with the same probability; the scene itself if it is alone."""
        ...


class Mix(Protocol):
    """A transform that adds points of other scenes: a pure function of its arguments.

    It runs on scenes as their files hold them, before all other transforms of training. Another
    scene is read only when it is drawn.
    """

    def __call__(
        self, sample: PointSample, others: OtherScenes, rng: np.random.Generator
    ) -> PointSample: ...


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to scenes before voxelization, in training and in every other use.

    Args:
        train: run on training scenes, in this order.
        eval: run on scenes of validation, test and prediction. They must be `legal_in_eval`: every
            point of a file gets its prediction.
        mix: run on training scenes before `train`, in this order.
        mix3d: probability that the scenes of a training batch become scenes of two each (Mix3D,
            Nekrasov et al. 2021), after `train`. See `pc3d.data.samplers`.

    Raises:
        ValueError: something that cannot be called, a transform in `eval` that is for training
            only, or no probability.
    """

    train: Sequence[Transform] = ()
    eval: Sequence[Transform] = ()
    mix: Sequence[Mix] = ()
    mix3d: float = 0.0

    def __post_init__(self) -> None:
        for transform in (*self.train, *self.eval, *self.mix):
            if not callable(transform):
                raise ValueError(
                    f"Augmentation needs transforms; got {type(transform).__name__} {transform}. "
                    "Instantiate a configuration with _convert_='all', or Hydra turns transforms "
                    "back into nodes."
                )
        for transform in self.eval:
            if not getattr(transform, "legal_in_eval", False):
                raise ValueError(
                    f"{type(transform).__name__} is for training only and cannot stand in "
                    "Augmentation.eval: there, no point may be dropped or moved at random. (A "
                    "transform that does neither says so: legal_in_eval = True.)"
                )
        if not 0.0 <= self.mix3d <= 1.0:
            raise ValueError(f"mix3d is a probability, 0 to 1; got {self.mix3d}")


def require_field(sample: PointSample, field: str, user: str) -> NDArray[Any]:
    """The array of an optional field of `PointSample`.

    Args:
        sample: the scene.
        field: name of the field, e.g. `"color"`.
        user: who needs it, named in the error.

    Raises:
        ValueError: the scene has no such field.
    """
    array: NDArray[Any] | None = getattr(sample, field)
    if array is None:
        present = [
            name
            for name in ("color", "normal", "intensity", "returns", "segment", "instance")
            if getattr(sample, name) is not None
        ]
        raise ValueError(
            f"{user} needs {field!r}, but scene {sample.name} has only "
            f"{', '.join(['xyz', *present])}. Remove {user} from this data set's configuration, or "
            f"use data with {field!r}."
        )
    return array
