"""What is known of architectures, one file for each, so that nothing is measured twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pc3d.search.arch import ArchSpec
from pc3d.utils.files import write_json

_FACTS = "facts.json"


class Records:
    """A folder with a file per architecture, and one that says what they hold for.

    Files are whole or absent, so several processes can share a folder.

    Args:
        folder: the folder of these facts lies within it; `<folder>/<name>`.
        name: a part that users can read, and a digest of the facts.
        facts: what the records hold for, as plain values.

    Raises:
        ValueError: the folder is there with other facts, or its file of facts is damaged.
    """

    def __init__(self, folder: Path, name: str, facts: Mapping[str, Any]) -> None:
        self.folder, self.facts = folder / name, facts
        path = self.folder / _FACTS
        if not path.is_file():
            write_json(path, facts)
        elif _read(path) != json.loads(json.dumps(facts)):
            raise ValueError(f"{path} is of something else; remove {self.folder}")

    def get(self, arch: ArchSpec) -> dict[str, Any] | None:
        """The record of an architecture, or None.

        Raises:
            ValueError: a damaged file; it is named.
        """
        path = self._path(arch)
        if not path.is_file():
            return None
        found = _read(path)
        if found.get("arch") != arch.plain():
            raise ValueError(f"{path} is not of architecture {arch.name}; remove it")
        return found

    def put(self, arch: ArchSpec, record: Mapping[str, Any]) -> None:
        """Keep what is known of an architecture: plain values."""
        write_json(self._path(arch), {**record, "arch": arch.plain()})

    @property
    def has_any(self) -> bool:
        """Whether something is known of any architecture."""
        return any(path.name != _FACTS for path in self.folder.glob("*.json"))

    def others(self) -> list[dict[str, Any]]:
        """The facts of the folders beside this one."""
        beside = sorted(self.folder.parent.glob(f"*/{_FACTS}"))
        return [_read(path) for path in beside if path.parent != self.folder]

    def _path(self, arch: ArchSpec) -> Path:
        return self.folder / f"{arch.name}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, it is made again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: no mapping; remove it, it is made again")
    return found
