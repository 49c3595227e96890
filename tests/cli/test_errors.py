"""What a user reads when something goes wrong."""

from __future__ import annotations

import errno
import os
import re
import signal

import pytest
import torch
from hydra.errors import InstantiationException

from pc3d.cli.errors import TRACEBACK, message, report_errors
from tests.watchdog import watchdog


class Doomed(torch.utils.data.Dataset):
    """The process that asks for item 3 is killed."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_the_end_of_a_worker_is_an_error_and_said_clearly():
    loader = torch.utils.data.DataLoader(Doomed(), num_workers=2, batch_size=None)
    with watchdog(60), pytest.raises(RuntimeError) as error:
        list(loader)
    text = message(error.value)
    for part in ("a data worker was killed", "memory ran out", "Lower num_workers"):
        assert part in text
    assert "Traceback" not in text and "pid" not in text


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ("is killed by signal: Killed. ", None, r"killed \(Killed\): most likely memory"),
        (
            "is killed by signal: Bus error. It is possible",
            "",
            r"\(Bus error\): most likely memory",
        ),
        ("is killed by signal: Segmentation fault. ", "", r"died \(Segmentation fault\); .*=0"),
        ("exited unexpectedly with exit code 1. Details", None, r"died \(exit code 1\); .*=0"),
        (None, "", r"^a data worker was killed: most likely memory"),
    ],
)
def test_what_torch_says_of_a_worker_is_read(first, second, expected):
    """Its second message is raised from the first, or from nothing where the signal was missed."""
    cause = None if first is None else RuntimeError(f"DataLoader worker (pid 12) {first}")
    error = cause
    if second is not None:
        error = RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly")
        error.__cause__ = cause
    assert re.search(expected, message(error))


def test_other_errors_keep_their_text():
    assert message(ValueError("the worker (pid 3) is fine")) == "the worker (pid 3) is fine"
    assert message(KeyError()) == "KeyError"
    wrapped = InstantiationException("outer")
    wrapped.__cause__ = ValueError("inner")
    assert message(wrapped) == "inner"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("scene.ply: damaged"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "scene.ply"),
        PermissionError(errno.EACCES, "Permission denied", "scene.ply"),
        IsADirectoryError(errno.EISDIR, "Is a directory", "scene.ply"),
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "scene.ply"),
        OSError(errno.ELOOP, "Too many levels of symbolic links", "scene.ply"),
        OSError(errno.ENOSPC, "No space left on device", "scene.ply"),
        OSError(errno.EIO, "Input/output error", "scene.ply"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_message(error, capsys, monkeypatch):
    @report_errors
    def program():
        raise error

    monkeypatch.delenv(TRACEBACK, raising=False)
    with pytest.raises(SystemExit) as exit_:
        program()
    assert exit_.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and "scene.ply" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(type(error)):
        program()


@pytest.mark.parametrize("error", [KeyError("x"), IndexError("1"), TypeError("no")])
def test_our_own_mistakes_keep_their_traceback(error, monkeypatch):
    @report_errors
    def program():
        raise error

    monkeypatch.delenv(TRACEBACK, raising=False)
    with pytest.raises(type(error)):
        program()
