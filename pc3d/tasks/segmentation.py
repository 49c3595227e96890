"""Semantic segmentation as a Lightning module."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pc3d.metrics import ConfusionMatrix, scores
from pc3d.models.checkpoint import KEY
from pc3d.sparse import Batch
from pc3d.tasks.optim import OptimizerFactory, SchedulerFactory, parameter_groups
from pc3d.tasks.tiling import predict_points


class SegmentationTask(pl.LightningModule):
    """Trains a network on voxels and evaluates it on points.

    The training loss is taken at voxels (majority labels). Validation and test score every original
    point of whole scenes; one confusion matrix is summed over scenes and ranks.

    Args:
        network: a `pc3d.models.SegmentationModel`.
        class_names: one name per class, for the log keys `val/iou/<class>`.
        max_eval_voxels: budget of one forward pass in evaluation; larger scenes are tiled.
        loss: module from (logits [N, C], target [N]) to a scalar. This and the next two may be None
            for evaluation.
        optimizer: makes the optimizer from parameter groups.
        scheduler: makes the schedule, called with `total_steps`.
        facts: plain values about data and model that every checkpoint carries.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        class_names: tuple[str, ...],
        max_eval_voxels: int,
        loss: nn.Module | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss
        self.class_names, self.max_eval_voxels = class_names, max_eval_voxels
        self._optimizer, self._scheduler, self._facts = optimizer, scheduler, facts or {}
        self.val_confusion = ConfusionMatrix(len(class_names))
        self.test_confusion = ConfusionMatrix(len(class_names))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss at the support of the network's output, plus its auxiliary losses."""
        assert self.loss is not None
        output = self.network(batch)
        target = batch.segment if output.support == "voxel" else batch.points.segment
        loss: Tensor = self.loss(output.logits, target)
        for name, value in output.aux_losses.items():
            self.log(f"train/{name}", value, batch_size=1)
            loss = loss + value
        self.log(
            "train/loss",
            loss,
            on_step=True,
            on_epoch=True,
            prog_bar=True,
            sync_dist=True,
            batch_size=1,
        )
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._evaluate(batch, self.val_confusion)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", self.val_confusion)

    def test_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Returns [P] int64, the predicted class of every point in input order."""
        return self._evaluate(batch, self.test_confusion)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test", self.test_confusion, reset=False)

    def configure_optimizers(self) -> Any:
        if self._optimizer is None or self._scheduler is None:
            raise ValueError("this task was built for evaluation: it has no optimizer or scheduler")
        optimizer = self._optimizer(parameter_groups(self.network))
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self._scheduler(optimizer, total_steps=total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self._facts

    def _evaluate(self, batch: Batch, confusion: ConfusionMatrix) -> Tensor:
        prediction = predict_points(self.network, batch, self.max_eval_voxels).argmax(dim=1)
        if batch.points.segment is not None:
            confusion.update(prediction, batch.points.segment)
        return prediction

    def _log_scores(self, split: str, confusion: ConfusionMatrix, reset: bool = True) -> None:
        result = scores(confusion.compute())  # already summed over ranks
        means = {"miou": result.miou, "macc": result.macc, "oa": result.oa}
        self.log_dict({f"{split}/{name}": value for name, value in means.items()})
        present = {
            f"{split}/iou/{name}": float(iou)
            for name, iou in zip(self.class_names, result.iou, strict=True)
            if not torch.isnan(iou)
        }
        self.log_dict(present)
        if reset:
            confusion.reset()
