"""What the programs print: messages of ours, without the chatter of the libraries below."""

from __future__ import annotations

import logging
import warnings

CHATTER = ("Tip:", "TPU available", "HPU available", "Seed set to", "Loading `train_dataloader`")
WARNINGS = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*recommended to use `self.log.*sync_dist=True.*",  # our scores are summed over ranks already
    ".*of `DataLoader` across ranks is zero.*",  # all scenes of an interrupted test are done
    ".*Checkpoint directory .* exists and is not empty.*",
)


class _NoChatter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in CHATTER)


def quiet_libraries() -> None:
    """Drop messages that a user can do nothing about."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed"):
        logging.getLogger(name).addFilter(_NoChatter())
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)
