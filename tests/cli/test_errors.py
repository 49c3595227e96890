"""Errors of the user are shown as one message, all others as what they are."""

from __future__ import annotations

import errno

import pytest

from pc3d.cli.errors import TRACEBACK, report_errors


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
