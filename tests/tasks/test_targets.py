"""Rules from the labels of points to the label of their voxel, on hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pc3d.data.collate import collate
from pc3d.data.sample import read_points
from pc3d.data.voxelize import Voxelize
from pc3d.models import SegmentationOutput
from pc3d.tasks import SegmentationTask
from pc3d.tasks.targets import VOXEL_LABELS

# The voxels along x, and the labels of their points in the order of the file.
VOXELS = ((3, 1, 1), (2, 2), (-1, 0), (4, -1, 5), (-1, -1), (7,))
EXPECTED = {
    "majority": [1, 2, 0, 4, -1, 7],
    "unanimous": [-1, 2, 0, -1, -1, 7],
    "first": [3, 2, -1, 4, -1, 7],
}


def make_batch(name: str = "scene"):
    """Points in the order: first points of all voxels, then their second points, ..."""
    rounds = range(max(map(len, VOXELS)))
    points = [(x, v[k]) for k in rounds for x, v in enumerate(VOXELS) if k < len(v)]
    xyz = np.array([[x + 0.5, 0.5, 0.5] for x, _ in points])
    segment = np.array([label for _, label in points])
    sample = read_points(name, name, xyz, segment=segment)
    return Voxelize(voxel_size=1.0, features=("xyz",))(sample)


@pytest.mark.parametrize("rule", EXPECTED)
def test_rules_on_a_batch_of_two_scenes(rule):
    batch = collate([make_batch("a"), make_batch("b")])
    x = batch.voxels.coords.indices[:, 1]
    labels = VOXEL_LABELS[rule](batch)
    for scene in (0, 1):
        rows = batch.voxels.coords.indices[:, 0] == scene
        assert labels[rows][x[rows].argsort()].tolist() == EXPECTED[rule]
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("rule", EXPECTED)
def test_scenes_without_labels_have_no_target(rule):
    sample = read_points("a", "a", np.zeros((2, 3)))
    batch = collate([Voxelize(voxel_size=1.0, features=("xyz",))(sample)])
    assert VOXEL_LABELS[rule](batch) is None


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="one of majority, unanimous, first; got 'mean'"):
        SegmentationTask(
            network=torch.nn.Identity(), class_names=("a",), max_eval_voxels=9, voxel_label="mean"
        )


def test_the_loss_is_taken_at_the_labels_of_the_rule(monkeypatch):
    """A network that says the truth of one rule has no error under that rule only."""
    batch = collate([make_batch()])

    class Seen(torch.nn.Module):
        def forward(self, logits, target):
            self.target = target
            return logits.sum()

    class Network(torch.nn.Module):
        def forward(self, batch):
            return SegmentationOutput(torch.zeros(len(batch.voxels.coords), 8), "voxel", {})

    for rule in EXPECTED:
        loss = Seen()
        task = SegmentationTask(
            network=Network(),
            class_names=tuple("abcdefgh"),
            max_eval_voxels=99,
            loss=loss,
            voxel_label=rule,
        )
        monkeypatch.setattr(task, "log", lambda *_, **__: None)
        task.training_step(batch, 0)
        assert torch.equal(loss.target, VOXEL_LABELS[rule](batch))
