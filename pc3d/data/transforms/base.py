"""What a transform is, and how it states what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pc3d.data.sample import PointSample


class Transform(Protocol):
    """A pure function of a sample and a random generator.

    It never modifies its sample, and the same sample and generator state give the same result.
    """

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample: ...


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The transforms of training and those of every other use, in the order in which they run.

    Args:
        train: run on training scenes, before voxelization.
        eval: run on scenes of validation, test and prediction. They must not draw at random, nor
            drop or reorder points.

    Raises:
        ValueError: something that cannot be called.
    """

    train: Sequence[Transform] = ()
    eval: Sequence[Transform] = ()

    def __post_init__(self) -> None:
        for transform in (*self.train, *self.eval):
            if not callable(transform):
                raise ValueError(
                    f"Augmentation needs transforms; got {type(transform).__name__} {transform}. "
                    "Instantiate a configuration with _convert_='all', or Hydra turns transforms "
                    "back into nodes."
                )


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
            for name in ("color", "normal", "intensity", "segment", "instance")
            if getattr(sample, name) is not None
        ]
        raise ValueError(
            f"{user} needs {field!r}, but scene {sample.name} has only "
            f"{', '.join(['xyz', *present])}. Remove {user} from this data set's configuration, or "
            f"use data with {field!r}."
        )
    return array
