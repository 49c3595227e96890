"""The report: sections one after another, as markdown and JSON, written after each of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cuda_ops
from cuda_ops.check.section import Section

HOUSE = Path(cuda_ops.__file__).resolve().parents[1] / "docs" / "gpu"


def file_name(device: str, date: str) -> str:
    """`"nvidia-h100-80gb-hbm3-2026-11-23"`.

    Args:
        device: its name.
        date: ISO date or time.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return f"{slug or 'device'}-{date[:10]}"


def default_folder() -> Path:
    """`docs/gpu` of the current directory or of the checkout; else the current directory."""
    for folder in (Path("docs/gpu"), HOUSE):
        if folder.is_dir():
            return folder
    return Path()


def markdown(facts: dict[str, Any], sections: Sequence[Section]) -> str:
    """The report to read."""
    lines = [f"# Operators on {facts['device']}", ""]
    lines += [f"* {key}: {value}" for key, value in facts.items() if value is not None]
    lines.append("")
    for section in sections:
        lines += section.lines()
    return "\n".join(lines).rstrip() + "\n"


def as_json(facts: dict[str, Any], sections: Sequence[Section]) -> dict[str, Any]:
    """The report as plain values."""
    found = [
        {"title": s.title, "passed": s.passed, "notes": list(s.notes), "values": s.values}
        for s in sections
    ]
    return {"facts": facts, "passed": passed(sections), "sections": found}


def passed(sections: Sequence[Section]) -> bool:
    """Whether no section failed."""
    return all(section.passed is not False for section in sections)


def write(folder: Path, facts: dict[str, Any], sections: Sequence[Section]) -> Path:
    """Write `.md` and `.json`, each whole or not at all; returns the former.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name(facts['device'], facts['date'])}.md"
    # Not a number is no JSON.
    values = json.dumps(_finite(as_json(facts, sections)), indent=1, allow_nan=False)
    for target, text in ((path, markdown(facts, sections)), (path.with_suffix(".json"), values)):
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _finite(value: Any) -> Any:
    """The value with None for numbers that are infinite or none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
