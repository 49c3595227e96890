"""A trained supernet out of its run folder."""

from __future__ import annotations

from pathlib import Path

from pc3d.data.features import num_channels
from pc3d.models.weights import build_network, read_weights
from pc3d.search.shared import SharedNetworks
from pc3d.utils.run_folder import checkpoint_path


def load_supernet(run: str | Path, checkpoint: str = "best") -> SharedNetworks:
    """The supernet that a run trained, on the CPU and in evaluation.

    Args:
        run: run folder of `train.py task=supernet`.
        checkpoint: `"best"`, `"last"` or a path.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: a checkpoint that is damaged or of an ordinary network.
    """
    weights = read_weights(checkpoint_path(run, checkpoint))
    facts = weights.facts
    num_classes = len(facts["spec"]["class_names"])
    network = build_network(weights, num_channels(tuple(facts["features"])), num_classes)
    if not isinstance(network, SharedNetworks):
        raise ValueError(
            f"{weights.source} holds a {type(network).__name__}, not a supernet. Train one: "
            "python train.py task=supernet model=voxel_tr_supernet"
        )
    return network
