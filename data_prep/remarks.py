"""Keeping what readers of data sets remark."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_remarks() -> Iterator[list[str]]:
    """The remarks of readers within the block, which then do not go to the log."""
    handler = _Handler()
    logger = logging.getLogger("pc3d.data.datasets")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)  # a preparation keeps what would be noise in a training
    propagate, logger.propagate = logger.propagate, False
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
