"""`init_from=CKPT`: a new training starts from trained weights (docs/finetuning.md)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pc3d.cli.launch import is_rank_zero
from pc3d.data.features import num_channels
from pc3d.inference import find_weights
from pc3d.models.transfer import DataFacts, transfer
from pc3d.models.weights import read_weights
from pc3d.utils.files import file_hash, write_json

REPORT = "init_from.json"
"""Where a run folder says what its training started from."""
log = logging.getLogger(__name__)


def start_from(name: str, network: nn.Module, facts: Mapping[str, Any], folder: Path) -> None:
    """Give a network trained weights; say what was taken, what not, and why.

    Args:
        name: of the weights, see `pc3d.inference.find_weights`.
        network: freshly initialized.
        facts: of the data at hand, as `SegmentationDataModule.facts` gives them.
        folder: the run folder, which receives the report.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: it does not fit; see `pc3d.models.transfer`.
    """
    path = find_weights(name)
    weights = read_weights(path)
    given = data_facts(weights.facts, weights.source)
    result = transfer(network, weights, given, data_facts(facts, "the data"))
    network.load_state_dict(result.state)
    if is_rank_zero():
        for line in result.lines():
            log.info("init_from %s", line)
        warning = result.warning()
        if warning is not None:
            log.warning("init_from: %s", warning)
        origin = {"checkpoint": str(path.absolute()), "checkpoint_hash": file_hash(path)}
        write_json(folder / REPORT, {**origin, **result.as_json()})


def data_facts(facts: Mapping[str, Any], source: str) -> DataFacts:
    """What the facts of data or of a checkpoint say a network is made for.

    Raises:
        ValueError: one is missing, or a feature is none that pc3d knows.
    """
    missing = [key for key in ("spec", "features", "voxel_size") if key not in facts]
    if missing:
        raise ValueError(
            f"{source} does not say its {' and '.join(missing)}, so that its classes and channels "
            "cannot be matched to the data"
        )
    return DataFacts(
        label_space=facts["spec"]["name"],
        class_names=tuple(facts["spec"]["class_names"]),
        features=tuple((name, num_channels([name])) for name in facts["features"]),
        voxel_size=facts["voxel_size"],
    )
