"""Whether clouds, numbers of samples and points fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor


def check_sizes(points: Tensor, offsets: Tensor, num_samples: Sequence[int]) -> list[int]:
    """The offsets as integers; waits for a GPU.

    Raises:
        ValueError: offsets that are not those of clouds, more samples than points, or points that
            are not finite.
    """
    bounds: list[int] = offsets.tolist()
    pairs = list(pairwise(bounds))
    if bounds[0] != 0 or bounds[-1] != len(points) or any(end < first for first, end in pairs):
        raise ValueError(
            f"offsets must ascend from 0 to the {len(points)} points; got {_shown(bounds)}. They "
            "are the sums of the clouds' sizes, with a leading 0."
        )
    for cloud, ((first, end), wanted) in enumerate(zip(pairs, num_samples, strict=True)):
        if not 0 <= wanted <= end - first:
            raise ValueError(
                f"num_samples must lie between 0 and a cloud's size; got {wanted} for cloud "
                f"{cloud} of {end - first} points. Take min(wanted, size)."
            )
    num_bad = int((~points.isfinite()).any(dim=1).sum())
    if num_bad:
        raise ValueError(
            f"points must be finite; {num_bad} of {len(points)} have NaN or infinite coordinates. "
            "Remove them first."
        )
    return bounds


def refuse_negative(num_samples: Sequence[int]) -> None:
    """What can be said of numbers of samples before a GPU has been heard.

    Raises:
        ValueError: one of them is below 0.
    """
    if any(wanted < 0 for wanted in num_samples):
        raise ValueError(f"num_samples must be at least 0; got {_shown(num_samples)}")


def _shown(values: Sequence[int]) -> str:
    return str(list(values)) if len(values) <= 8 else f"[{', '.join(map(str, values[:8]))}, ...]"
