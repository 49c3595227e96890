"""Commands of a page of the documentation, to be run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def commands_of(page: str, heading: str = "") -> list[list[str]]:
    """The commands in the blocks of a page that name no language, split into words.

    Args:
        page: its file in `docs`.
        heading: only those below the first heading that contains this.
    """
    text = (DOCS / page).read_text()
    if heading:
        (text,) = re.findall(rf"^## [^\n]*{heading}[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S)[:1]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    code = [block for language, block in blocks if not language]
    lines = [line for block in code for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines]
