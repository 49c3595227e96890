"""Reading files so that whatever is wrong with one is said in one error that names it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def reading(path: str | Path, problem: str = "damaged or truncated") -> Iterator[None]:
    """Turn what a parser trips over into a `ValueError` that names the file.

    It is put around calls that open a file or give its content to another library, and nothing
    else: damaged bytes make those raise almost anything, down to `MemoryError`. A missing file and
    missing permissions pass, as Python names the file itself.

    Args:
        path: the file.
        problem: what the parser's error means.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:  # a folder, a link that leads to itself, a broken disk
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise ValueError(
            f"{path}: {problem} ({str(error) or type(error).__name__}). Copy, download or prepare "
            "the file again."
        ) from error


def read_bytes(path: str | Path) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError, PermissionError: as they say.
        ValueError: not a file, e.g. a folder or a link that leads to itself.
    """
    with reading(path):
        return Path(path).read_bytes()


def read_text(path: str | Path) -> str:
    """The content of a text file, without a byte order mark.

    Bytes that are not UTF-8 become U+FFFD, so that what holds them is refused by its name.

    Raises:
        As `read_bytes`.
    """
    return read_bytes(path).decode("utf-8-sig", errors="replace")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        As `read_bytes`, and ValueError for damaged JSON.
    """
    content = read_bytes(path)
    with reading(path):
        return json.loads(content)


def file_size(path: str | Path) -> int:
    """Bytes of a file.

    Raises:
        As `read_bytes`.
    """
    with reading(path), Path(path).open("rb") as file:
        return os.fstat(file.fileno()).st_size
