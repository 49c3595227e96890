"""A part of the report: tables, whether it passed, and the same as plain values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch


class Table(NamedTuple):
    """A table of text; the title may be empty."""

    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        title: its heading.
        values: all that was found, as plain values for JSON.
        passed: False fails the whole check; None where there is nothing to fail.
        tables: what is shown.
        notes: what a reader of the tables must know.
    """

    title: str
    values: Any
    passed: bool | None = None
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Markdown."""
        verdict = {True: ": pass", False: ": **FAIL**", None: ""}[self.passed]
        yield from (f"## {self.title}{verdict}", "")
        for note in self.notes:
            yield from (note, "")
        for table in self.tables:
            if table.title:
                yield from (f"### {table.title}", "")
            yield _line(table.header)
            yield _line(["---"] * len(table.header))
            yield from map(_line, table.rows)
            yield ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def guarded(title: str, make: Callable[[], Section]) -> Section:
    """What `make` gives; a section that failed with the message if it throws."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  whatever one part throws, the others are still made
        message = in_one_line(error)
        return Section(title, {"error": message}, False, notes=(f"It stopped: {message}",))
    finally:
        if torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # of a device that is lost
                torch.cuda.empty_cache()


def in_one_line(error: Exception) -> str:
    """Type and message of an error, cut where it gets long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:600]
