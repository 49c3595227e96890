"""Semantic segmentation as a Lightning module."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import cuda_ops
from pc3d.data.view_dataset import ViewBatch
from pc3d.data.views import Voting
from pc3d.metrics import ConfusionMatrix, SceneCounts, SplitCounts, count_scene, scores
from pc3d.models.api import SegmentationOutput
from pc3d.models.checkpoint import KEY
from pc3d.sparse import Batch
from pc3d.tasks.auxiliary import AuxiliaryHeads
from pc3d.tasks.optim import OptimizerFactory, SchedulerFactory, parameter_groups
from pc3d.tasks.targets import VOXEL_LABELS
from pc3d.tasks.tiling import predict_points
from pc3d.tasks.voting import SceneVotes


class SceneResult(NamedTuple):
    """What a test finds out about a scene of P points.

    Attributes:
        scene: its name.
        classes: [P] int64, the predicted class of every point in input order.
        counts: what the scene adds to the scores.
    """

    scene: str
    classes: Tensor
    counts: SceneCounts


class SegmentationTask(pl.LightningModule):
    """Trains a network on voxels and evaluates it on points.

    The training loss is taken at voxels. Validation and test score every original
    point of whole scenes; one confusion matrix is summed over scenes and ranks. All values are of
    points but `val/miou_voxel`, which scores voxels by their majority labels.

    Args:
        network: a `pc3d.models.SegmentationModel`.
        class_names: one name per class, for the log keys `val/iou/<class>`.
        max_eval_voxels: budget of one forward pass in evaluation; larger scenes are tiled.
        loss: module from (logits [N, C], target [N]) to a scalar. This and the next two may be None
            for evaluation.
        optimizer: makes the optimizer from parameter groups.
        scheduler: makes the schedule, called with `total_steps`.
        facts: plain values about data and model that every checkpoint carries.
        voxel_label: which of its points' labels a voxel is trained with, a key of
            `pc3d.tasks.targets.VOXEL_LABELS`.
        aux_weight: factor of the mean loss of the decoder's earlier stages (`pc3d.tasks.auxiliary`)
            in training; 0 for none. The network must then be a `pc3d.models.api.StagedModel`.
        holdout: fraction of the training scenes that training does not see, for choices that are
            not to be made by the validation split (`pc3d.data.datasets.HoldOut`); 0 for none.

    Raises:
        ValueError: an unknown `voxel_label`, an `aux_weight` that is negative or not finite, or a
            network without the stages that it needs.

    Attributes:
        auxiliary: the heads of these stages, or None.
        voting: how the views of a test scene are scored; the data module's must be the same.
        test_counts: sums over the scenes of the test.
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
        voxel_label: str = "majority",
        aux_weight: float = 0.0,
        holdout: float = 0.0,
    ) -> None:
        super().__init__()
        if voxel_label not in VOXEL_LABELS:
            raise ValueError(
                f"task.voxel_label must be one of {', '.join(VOXEL_LABELS)}; got {voxel_label!r}"
            )
        if not 0 <= aux_weight < math.inf:
            raise ValueError(f"task.aux_weight must be finite and >= 0; got {aux_weight}")
        self._voxel_labels = VOXEL_LABELS[voxel_label]
        self.network, self.loss, self.holdout = network, loss, holdout
        self.class_names, self.max_eval_voxels = class_names, max_eval_voxels
        self._optimizer, self._scheduler, self._facts = optimizer, scheduler, facts or {}
        num_classes = len(class_names)
        self.aux_weight = aux_weight
        self.auxiliary: AuxiliaryHeads | None = None
        if aux_weight and loss is not None:
            self.auxiliary = AuxiliaryHeads(network, num_classes)
        self.val_points, self.val_voxels = (
            ConfusionMatrix(num_classes),
            ConfusionMatrix(num_classes),
        )
        self.test_counts = SplitCounts(num_classes)
        self.voting = Voting()
        self._votes: SceneVotes | None = None

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The training loss, which is logged with its parts."""
        loss, parts = self.training_loss(batch)
        for name, value in parts.items():
            self.log(f"train/{name}", value, batch_size=1)
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

    def training_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss at the support of the network's output, plus its auxiliary losses.

        Returns:
            The sum, a scalar; and the auxiliary losses by name: the network's as they are in it,
            those of the decoder's stages before they are averaged and weighed.
        """
        heads = self.auxiliary
        with nullcontext({}) if heads is None else heads.listen(self.network) as seen:
            output = self.network(batch)
        loss, target = self.loss_of(output, batch)
        if heads is None:
            return loss, output.aux_losses
        assert self.loss is not None
        at_voxels = output.support == "voxel"
        labels = target if at_voxels else self._voxel_labels(batch)
        stages = heads(seen, batch.voxels.coords, labels, self.loss)
        mean = torch.stack(list(stages.values())).mean()
        return loss + self.aux_weight * mean, {**output.aux_losses, **stages}

    def loss_of(self, output: SegmentationOutput, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The loss of an output with its auxiliary losses, and the labels at its support."""
        assert self.loss is not None
        at_voxels = output.support == "voxel"
        target = self._voxel_labels(batch) if at_voxels else batch.points.segment
        loss: Tensor = self.loss(output.logits, target)
        for value in output.aux_losses.values():
            loss = loss + value
        return loss, target

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        at_points = predict_points(self.network, batch, self.max_eval_voxels)
        if batch.points.segment is not None and batch.segment is not None:
            self.val_points.update(at_points.argmax(dim=1), batch.points.segment)
            self.val_voxels.update(voxel_scores(at_points, batch).argmax(dim=1), batch.segment)

    def on_validation_epoch_end(self) -> None:
        result = scores(self.val_points.compute())  # summed over ranks
        self.log("val/miou_voxel", scores(self.val_voxels.compute()).miou)
        self.log_dict({"val/miou_point": result.miou, "val/macc": result.macc, "val/oa": result.oa})
        present = {
            f"val/iou/{name}": float(iou)
            for name, iou in zip(self.class_names, result.iou, strict=True)
            if not torch.isnan(iou)
        }
        self.log_dict(present)
        self.val_points.reset()
        self.val_voxels.reset()

    def on_test_start(self) -> None:
        self._votes = SceneVotes(self.network, self.voting, self.max_eval_voxels)

    def test_step(  # type: ignore[override]  # callbacks are given any value
        self, view: ViewBatch, batch_index: int
    ) -> SceneResult | None:
        """The result of a scene with its last view, else None."""
        assert self._votes is not None
        classes = self._votes.add(view)
        if classes is None:
            return None
        points = view.batch.points
        counts = count_scene(classes, points.segment, view.distance, len(self.class_names))
        self.test_counts.update(counts)
        return SceneResult(points.names[0], classes, counts)

    def configure_optimizers(self) -> Any:
        if self._optimizer is None or self._scheduler is None:
            raise ValueError("this task was built for evaluation: it has no optimizer or scheduler")
        trained = [module for module in (self.network, self.auxiliary) if module is not None]
        optimizer = self._optimizer(parameter_groups(nn.ModuleList(trained)))
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self._scheduler(optimizer, total_steps=total_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = getattr(self.trainer, "datamodule", None)
        checkpoint[KEY] = {**self._facts, **(data.measured() if data is not None else {})}


def voxel_scores(scores: Tensor, batch: Batch) -> Tensor:
    """[N, num_classes], the mean of the scores ([P, num_classes]) of every voxel's points."""
    counts = batch.point2voxel.bincount(minlength=len(batch.voxels.coords))
    with torch.autocast(scores.device.type, enabled=False):  # which would round them
        return cuda_ops.voxel_mean(scores, batch.point2voxel, counts)
