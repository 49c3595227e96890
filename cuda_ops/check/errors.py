"""Wrong calls end in one clear error each, and the device still computes right afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

import cuda_ops
from cuda_ops.check.cases import CASES, FEATURE_CASES, SMALL_SCENES, Data, cast, make_data
from cuda_ops.check.parity import check_case
from cuda_ops.check.precision import FLOAT32
from cuda_ops.check.section import Section, Table, in_one_line

CLEAR = (ValueError, TypeError, IndexError, RuntimeError)
"""What an error may be; `torch.OutOfMemoryError` is a RuntimeError."""
UNCLEAR = (
    "device-side assert",
    "illegal memory access",
    "misaligned address",
    "unspecified launch",
)
"""Parts of messages after which a device is lost."""


@dataclass(frozen=True)
class Misuse:
    """A wrong call.

    Attributes:
        name: what is wrong with it.
        call: makes the call.
        expected: type of the error, or one of several.
    """

    name: str
    call: Callable[[], object]
    expected: tuple[type[Exception], ...] = CLEAR


@dataclass(frozen=True)
class Outcome:
    """What came of a wrong call.

    Attributes:
        name: what was wrong with it.
        error: type and message, or "" if there was none.
        clear: it was an error of an expected type, that says something.
        right_afterwards: a convolution and its gradients agree with float64 after it.
    """

    name: str
    error: str
    clear: bool
    right_afterwards: bool

    @property
    def passed(self) -> bool:
        return self.clear and self.right_afterwards


def synchronize(device: torch.device) -> None:
    """Wait for the device, and raise what ops have found wrong with their tables since."""
    if device.type == "cuda":
        cuda_ops.synchronize(device)


def misuses(data: Data, device: torch.device) -> Iterator[Misuse]:
    """Wrong calls of a convolution and of the ops on keys.

    Args:
        data: float32 on the device.
        device: a CPU has no host tensors to confuse, and no memory of its own to run out of.
    """
    x, weight, table = data["x"], data["weight"], data["table"]

    def conv(x: Tensor = x, weight: Tensor = weight, table: Tensor = table) -> Tensor:
        return cuda_ops.sparse_conv(x, weight, table)

    def beyond(tap: int, column: int, row: int) -> Tensor:
        wrong = table.clone()
        wrong[tap, column] = row
        return wrong

    size = len(x)
    yield Misuse("features of integers", lambda: conv(x.long()))
    yield Misuse("float64 features, float32 weights", lambda: conv(x.double()), (ValueError,))
    yield Misuse("a weight for other channels", lambda: conv(weight=weight[:, 1:]), (ValueError,))
    yield Misuse("a table for other rows", lambda: conv(table=table[:, 1:]), (ValueError,))
    yield Misuse("a row one too far", lambda: conv(table=beyond(13, 0, size)), (IndexError,))
    yield Misuse(
        "a row far away", lambda: conv(table=beyond(26, size - 1, 2**31 - 1)), (IndexError,)
    )
    yield Misuse(
        "a row out of range for codebook attention",
        lambda: cuda_ops.codebook_attention(x, None, x[:27], [beyond(0, 1, size)]),
        (IndexError,),
    )
    yield Misuse(
        "keys that do not fit",
        lambda: cuda_ops.morton_encode(torch.full_like(data["indices"], 1 << 20)),
        (ValueError,),
    )
    if device.type == "cuda":
        yield Misuse("features on the host", lambda: conv(x.cpu()))
        yield Misuse("a table on the host", lambda: conv(table=table.cpu()))
        yield Misuse(
            "more memory than there is", lambda: _too_large(device), (torch.OutOfMemoryError,)
        )


def _too_large(device: torch.device) -> Tensor:
    """A result of 2^42 numbers."""
    num_out, channels = 2**20, 2**22
    table = torch.zeros(1, num_out, dtype=torch.int32, device=device)
    weight = torch.ones(1, 1, channels, device=device)
    return cuda_ops.sparse_conv(weight[0, :, :1], weight, table, table[:, :1])


def try_misuse(misuse: Misuse, device: torch.device, still_right: Callable[[], bool]) -> Outcome:
    """Make the wrong call, wait for the device, and see whether it is still right."""
    message, clear = "", False
    try:
        misuse.call()
        synchronize(device)
    except Exception as error:  # noqa: BLE001  which one comes is what is looked at
        message = in_one_line(error)
        lost = any(part in message for part in UNCLEAR)
        clear = isinstance(error, misuse.expected) and bool(str(error)) and not lost
    try:
        right = still_right()
    except Exception as error:  # noqa: BLE001  an error of any type here means a lost device
        message, right = f"{message}; afterwards {in_one_line(error)}", False
    return Outcome(misuse.name, message, clear, right)


def errors_section(device: torch.device) -> Section:
    """Make every wrong call in turn."""
    scene = SMALL_SCENES[0]
    data = make_data(scene)
    name = "sparse_conv submanifold"

    def still_right() -> bool:
        case = (FEATURE_CASES | CASES)[name]
        return check_case(name, case, data, scene, FLOAT32, device).passed

    given = cast(data, FLOAT32, device)
    found = [try_misuse(misuse, device, still_right) for misuse in misuses(given, device)]
    rows = [
        [
            outcome.name,
            outcome.error[:160] or "**no error**",
            "yes" if outcome.right_afterwards else "**no**",
            "pass" if outcome.passed else "**FAIL**",
        ]
        for outcome in found
    ]
    table = Table("", ["what is wrong", "error", "right afterwards", ""], rows)
    values = [asdict(outcome) | {"passed": outcome.passed} for outcome in found]
    return Section("Errors", values, all(outcome.passed for outcome in found), (table,))
