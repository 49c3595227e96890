"""The per-user folder of compiled libraries, guarded because what lies there is loaded as code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

LOCK_TIMEOUT = 600  # seconds: longer than a compiler is given


class CacheRefusedError(RuntimeError):
    """The folder or a file in it could have been written by somebody else."""


def candidates() -> list[Path]:
    """Folders to try in order: `$PC3D_CACHE_DIR` alone if set, else the user's cache, then temp."""
    if chosen := os.environ.get("PC3D_CACHE_DIR"):
        return [Path(chosen)]
    folders = []
    with contextlib.suppress(RuntimeError):  # a user without a home
        default = "Library/Caches" if sys.platform == "darwin" else ".cache"
        folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / default) / "pc3d")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return [*folders, Path(tempfile.gettempdir()) / f"pc3d-{user}"]


def cached_library(folder: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The library `name` in `folder`, built if it is missing or damaged.

    Processes that ask at the same time wait for the one that builds. The library appears under its
    name only when it is complete, and is used only if it has the checksum noted beside it.

    Args:
        folder: created with access for this user alone.
        name: file name, with everything in it that the content depends on.
        build: writes the library to the path it is given.

    Raises:
        CacheRefusedError: another user owns the folder or the library, or others can write to them.
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_foreign(folder)
    library, checksum = folder / name, folder / f"{name}.sha256"
    if not _is_intact(library, checksum):
        with _locked(folder / f"{name}.lock"):
            if not _is_intact(library, checksum):
                _build(library, checksum, build)
    refuse_foreign(library)
    return library


def refuse_foreign(path: Path) -> None:
    """Check that only this user (or the administrator) can have written `path`.

    Raises:
        CacheRefusedError: with the reason in words.
    """
    if not hasattr(os, "getuid"):
        return
    facts = path.stat()
    if facts.st_uid not in (os.getuid(), 0):
        raise CacheRefusedError(f"{path} belongs to user {facts.st_uid}, not to you")
    if facts.st_mode & 0o022:
        raise CacheRefusedError(
            f"others can write to {path} (mode {facts.st_mode & 0o777:o}); chmod go-w it"
        )


def _is_intact(library: Path, checksum: Path) -> bool:
    try:
        noted = checksum.read_text().strip()
        return hashlib.sha256(library.read_bytes()).hexdigest() == noted
    except (OSError, UnicodeDecodeError):
        return False


def _build(library: Path, checksum: Path, build: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as scratch:
        made = Path(scratch) / library.name
        build(made)
        made.chmod(0o700)
        noted = Path(scratch) / checksum.name
        noted.write_text(hashlib.sha256(made.read_bytes()).hexdigest())
        checksum.unlink(missing_ok=True)
        made.replace(library)
        noted.replace(checksum)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        lock = FileLock(path, timeout=LOCK_TIMEOUT)
        lock.acquire()
    except NotImplementedError:  # a file system without locks: builds are atomic, one is wasted
        yield
        return
    try:
        yield
    finally:
        lock.release()
