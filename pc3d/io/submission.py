"""Predictions in the form of a benchmark: written, checked, and packed before they are uploaded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pc3d.utils.files import replacing, write_bytes

_MAX_SHOWN = 20


@dataclass(frozen=True)
class SubmissionFormat:
    """What the server of a benchmark expects.

    Attributes:
        path_of: from a scene to the path of its file within the submission.
        encode: from raw ids ([P]) to the content of the file.
        decode: the reverse; `ValueError` for a content that no ids have.
        pattern: of the paths that hold predictions, as in `Path.rglob`; others are not looked at.
        extra: further files by path, e.g. a description that the server reads.
        server: where it is uploaded to; None if nobody takes it.
    """

    path_of: Callable[[str], str]
    encode: Callable[[NDArray[np.int64]], bytes]
    decode: Callable[[bytes], NDArray[np.int64]]
    pattern: str
    extra: Mapping[str, bytes] = field(default_factory=dict)
    server: str | None = None

    def write(self, folder: str | Path, scene: str, raw_ids: NDArray[np.int64]) -> Path:
        """Write the predictions of a scene; returns the path of the file."""
        path = Path(folder, self.path_of(scene))
        write_bytes(path, self.encode(raw_ids))
        return path

    def validate(
        self, folder: str | Path, num_points: Mapping[str, int], legal: Collection[int]
    ) -> int:
        """Check that a folder holds what the server expects.

        Args:
            folder: searched with all its subfolders.
            num_points: of every scene of the submission.
            legal: raw ids that a submission may use.

        Returns:
            Number of files of predictions.

        Raises:
            ValueError: missing or superfluous files, another number of predictions than points, ids
                that are not legal; the message lists them.
        """
        folder = Path(folder)
        expected = {folder / self.path_of(scene): num for scene, num in num_points.items()}
        found = set(folder.rglob(self.pattern))
        problems = [f"{path}: missing" for path in sorted(expected.keys() - found)]
        problems += [
            f"{path}: not a scene of this split" for path in sorted(found - expected.keys())
        ]
        for path in sorted(expected.keys() & found):
            problems += [f"{path}: {p}" for p in self._problems(path, expected[path], legal)]
        if problems:
            shown = problems[:_MAX_SHOWN] + ["..."] * (len(problems) > _MAX_SHOWN)
            raise ValueError(
                f"{folder} is not a valid submission, {len(problems)} problems:\n  "
                + "\n  ".join(shown)
            )
        return len(expected)

    def _problems(self, path: Path, num_points: int, legal: Collection[int]) -> list[str]:
        try:
            raw_ids = self.decode(path.read_bytes())
        except (OSError, ValueError) as error:
            return [str(error)]
        if len(raw_ids) != num_points:
            return [f"{len(raw_ids)} predictions, but the scene has {num_points} points"]
        illegal = [int(i) for i in np.unique(raw_ids) if int(i) not in legal]
        return [f"ids {illegal[:8]} are not legal in a submission"] if illegal else []

    def pack(self, folder: str | Path, path: str | Path) -> Path:
        """Put the predictions of a folder into a zip file, and read it again to check it.

        Folders get entries of their own, which some servers look for. The file appears at `path`
        when it is whole.

        Args:
            folder: valid predictions, as `validate` says.
            path: of the zip file.

        Returns:
            `path`.

        Raises:
            ValueError: what was read back is not what was written.
        """
        folder, path = Path(folder), Path(path)
        files = {p.relative_to(folder).as_posix(): p for p in folder.rglob(self.pattern)}
        names = {*files, *self.extra}
        folders = {f"{parent}/" for name in names for parent in PurePosixPath(name).parents}
        with replacing(path) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in sorted(folders - {"./"}):
                    archive.writestr(zipfile.ZipInfo(name), b"")
                for name, content in sorted(self.extra.items()):
                    archive.writestr(name, content)
                for name in sorted(files):
                    archive.write(files[name], name)
            _check_zip(temporary, path, {*names, *(folders - {"./"})})
        return path


def _check_zip(temporary: Path, path: Path, expected: set[str]) -> None:
    try:
        with zipfile.ZipFile(temporary) as archive:
            names, damaged = archive.namelist(), archive.testzip()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: the zip file cannot be read back: {error}") from error
    if damaged is not None or sorted(names) != sorted(expected):
        raise ValueError(
            f"{path}: the zip file read back is not what was written (damaged: {damaged}, entries "
            f"that differ: {sorted(set(names) ^ expected)[:5]}). Is the disk full?"
        )


def lines_of(raw_ids: NDArray[np.int64]) -> bytes:
    """One id per line, as text."""
    return "".join(f"{i}\n" for i in raw_ids.tolist()).encode("ascii")


def ids_of_lines(content: bytes) -> NDArray[np.int64]:
    """The reverse of `lines_of`.

    Raises:
        ValueError: a line that is not an integer.
    """
    try:
        return np.array([int(line) for line in content.split(b"\n") if line], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected one integer per line: {error}") from error


def little_endian(dtype: str) -> tuple[Callable[..., bytes], Callable[..., NDArray[np.int64]]]:
    """`encode` and `decode` for ids one after the other in a NumPy type, e.g. `"<u4"`."""
    size = np.dtype(dtype).itemsize

    def encode(raw_ids: NDArray[np.int64]) -> bytes:
        return raw_ids.astype(dtype).tobytes()

    def decode(content: bytes) -> NDArray[np.int64]:
        if len(content) % size:
            raise ValueError(f"{len(content)} bytes are not a whole number of {size}-byte ids")
        return np.frombuffer(content, dtype=dtype).astype(np.int64)

    return encode, decode
