"""A file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pc3d.utils.files import write_bytes


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"first")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def fail(self: Path, target: Path) -> None:
        assert self.read_bytes() == b"new"
        raise OSError("interrupted")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="interrupted"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
