"""Names and values of the scores that the task logs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pc3d.data.view_dataset import ViewBatch
from pc3d.data.views import View, Voting
from pc3d.metrics import scores
from pc3d.models import SegmentationOutput
from pc3d.sparse import Batch
from pc3d.tasks import SegmentationTask
from pc3d.tasks.segmentation import voxel_scores
from tests.attack import Cloud, asymmetric
from tests.sparse.test_points import batch_of

# Voxel 0 holds three points, voxel 1 two, voxel 2 one; two voxels have a label of the majority.
CELLS = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 5, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1)]
CLOUD = Cloud(CELLS, [CELLS[0], CELLS[1], CELLS[3]], [0, 1, 0, 2, 0, 1], [3, 2, 1], 1)
POINTS = torch.tensor([0, 1, 0, -1, 1, 0])
VOXELS = torch.tensor([0, 0, -1])
NAMES = ("wall", "floor", "chair")


class Fixed(nn.Module):
    """Voxel 0 is a wall, voxel 1 a floor, voxel 2 a chair."""

    def __init__(self, support: str = "voxel") -> None:
        super().__init__()
        self.support, self.weight = support, nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch) -> SegmentationOutput:
        logits = torch.eye(3)
        return SegmentationOutput(
            logits if self.support == "voxel" else logits[batch.point2voxel], support=self.support
        )


def scene() -> Batch:
    batch = batch_of(CLOUD)
    return replace(batch, points=replace(batch.points, segment=POINTS), segment=VOXELS)


def loader(items: list) -> DataLoader:
    return DataLoader(items, batch_size=None)


def task_of(support: str = "voxel") -> SegmentationTask:
    return SegmentationTask(network=Fixed(support), class_names=NAMES, max_eval_voxels=10)


def quiet() -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )


@pytest.mark.parametrize("support", ["voxel", "point"])
def test_validation_scores_points_and_voxels_under_their_names(support):
    trainer = quiet()
    trainer.validate(task_of(support), loader([scene(), scene()]), verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    # Points: walls 2 of 3 found, one of another class; floors 1 of 2 found, one of another class.
    assert found["val/iou/wall"] == pytest.approx(2 / 4)
    assert found["val/iou/floor"] == pytest.approx(1 / 3)
    assert "val/iou/chair" not in found and "val/miou" not in found
    assert found["val/miou_point"] == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert found["val/oa"] == pytest.approx(3 / 5)
    # Voxels: of two walls one is found, the other is called a floor, of which there is none.
    assert found["val/miou_voxel"] == pytest.approx((1 / 2 + 0) / 2)


def test_every_validation_starts_anew():
    task, trainer = task_of(), quiet()
    for _ in range(2):
        trainer.validate(task, loader([scene()]), verbose=False)
    assert task.val_points.matrix.sum() == task.val_voxels.matrix.sum() == 0


def test_a_voxels_score_is_the_mean_of_its_points():
    at_points = asymmetric(6, 3).float()
    found = voxel_scores(at_points, scene())
    expected: list[Tensor] = [at_points[[0, 2, 4]].mean(0), at_points[[1, 5]].mean(0), at_points[3]]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("voting", [Voting(), Voting(views=(View(), View(flip="x")))])
def test_a_test_counts_every_point_once(voting):
    task, trainer = task_of(), quiet()
    task.voting = voting
    num_views = len(voting.views)
    distance = torch.arange(6.0) * 4
    views = [ViewBatch(scene(), i, num_views, None, distance) for i in range(num_views)]
    trainer.test(task, loader(views), verbose=False)
    counts = task.test_counts.compute()
    assert float(scores(counts.matrix).miou) == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert counts.matrix.sum() == 5 and counts.num_points == 6
    assert counts.by_distance.sum(dim=(1, 2)).tolist() == [3, 1, 1, 0, 0, 0]
