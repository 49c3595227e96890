"""What keeps the main process from waiting for a data worker for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.data import get_worker_info

from pc3d.data.memory import free_bytes, show
from pc3d.sparse import CoordSet

Sample = TypeVar("Sample")
Collated = TypeVar("Collated")


def collate_shared(
    collate: Callable[[Sequence[Sample]], Collated], samples: Sequence[Sample]
) -> Collated:
    """Collate samples; in a worker, into shared memory.

    A worker's queue would move the tensors there by itself, in a thread of its own. Where /dev/shm
    is full, that thread prints an error and drops the batch, and the main process waits for it for
    ever. Here it is an error of the worker, which reaches the main process.

    Args:
        collate: makes a batch, of tensors that nobody else has.
        samples: its argument.

    Raises:
        RuntimeError: the batch does not fit into /dev/shm.
    """
    batch = collate(samples)
    if get_worker_info() is None:
        return batch
    tensors = list(tensors_of(batch))
    try:
        for tensor in tensors:
            tensor.share_memory_()
    except RuntimeError as error:
        raise RuntimeError(
            f"a batch of {show(sum(tensor.nbytes for tensor in tensors))} does not fit into "
            f"/dev/shm, which has {show(free_bytes().shm)} left. Lower num_workers (0 needs none "
            "of it) or dataset.max_voxels, or make /dev/shm larger (docker run --shm-size=...). "
            f"({error})"
        ) from error
    return batch


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors within dataclasses, tuples and coordinates."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, CoordSet):
        yield from (value.indices, value.keys)
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_of(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name))
