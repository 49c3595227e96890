"""What a user reads when something goes wrong."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from hydra.errors import InstantiationException

from pc3d.cli.errors import message
from tests.watchdog import watchdog


class Doomed(torch.utils.data.Dataset):
    """The process that asks for item 3 ends."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        if index == 3:
            if self.how == "exit":
                os._exit(3)
            if self.how == "raise":
                raise ValueError("room.ply: it has no points")
            os.kill(os.getpid(), getattr(signal, self.how))
        return index


@pytest.mark.parametrize(
    "how, parts",
    [
        ("SIGKILL", ["a data worker was killed (Killed)", "memory ran out", "Lower num_workers"]),
        ("SIGTERM", ["a data worker died (Terminated)", "num_workers=0"]),
        ("exit", ["a data worker died;", "num_workers=0"]),
        ("raise", ["room.ply: it has no points"]),
    ],
)
def test_the_end_of_a_worker_is_an_error_and_said_clearly(how, parts):
    loader = torch.utils.data.DataLoader(Doomed(how), num_workers=2, batch_size=None)
    with watchdog(60), pytest.raises((RuntimeError, ValueError)) as error:
        list(loader)
    text = message(error.value)
    assert all(part in text for part in parts)
    assert "Traceback" not in text and "pid" not in text


def test_the_second_message_of_torch_has_the_first_as_its_cause():
    first = RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It is")
    second = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
    second.__cause__ = first
    assert message(first) == message(second)
    assert "killed (Bus error): most likely memory ran out" in message(second)


def test_other_errors_keep_their_text():
    assert message(ValueError("the worker (pid 3) is fine")) == "the worker (pid 3) is fine"
    assert message(KeyError()) == "KeyError"
    wrapped = InstantiationException("outer")
    wrapped.__cause__ = ValueError("inner")
    assert message(wrapped) == "inner"
