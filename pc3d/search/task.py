"""Training of a supernet: the sandwich rule with distillation from the largest network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pc3d.search.sandwich import Sandwich
from pc3d.search.shared import SharedNetworks
from pc3d.sparse import Batch
from pc3d.tasks import SegmentationTask
from pc3d.tasks.optim import OptimizerFactory, SchedulerFactory


class SupernetTask(SegmentationTask):
    """Trains a supernet; all else is as with any network, for which the largest one stands.

    In every step the largest network learns from the labels, and the others of the `Sandwich` from
    its scores (in-place distillation, BigNAS, arXiv 2003.11142). Their graphs are not kept at the
    same time: a step needs the memory of the largest network and of one more gradient, whatever the
    number of others.

    Args:
        network: the supernet.
        class_names, max_eval_voxels, loss, optimizer, scheduler, facts, voxel_label, holdout: see
            `SegmentationTask`; a search chooses by what is held out.
        sandwich: keyword arguments of `Sandwich`.

    Raises:
        ValueError: a network that is no supernet; see `Sandwich` and `SegmentationTask`.
    """

    network: SharedNetworks

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
        sandwich: Mapping[str, Any] | None = None,
        holdout: float = 0.0,
    ) -> None:
        if not isinstance(network, SharedNetworks):
            raise ValueError(
                f"task=supernet trains a supernet, and model is a {type(network).__name__}. Choose "
                "model=voxel_tr_supernet, or task=segmentation."
            )
        super().__init__(
            network=network,
            class_names=class_names,
            max_eval_voxels=max_eval_voxels,
            loss=loss,
            optimizer=optimizer,
            scheduler=scheduler,
            facts=facts,
            voxel_label=voxel_label,
            holdout=holdout,
        )
        self.sandwich = Sandwich(**(sandwich or {}))

    def on_fit_start(self) -> None:
        if self.trainer.precision == "16-mixed":
            raise ValueError(
                "a supernet sums gradients that are not scaled against underflow: use "
                "trainer.precision=bf16-mixed or 32-true instead of 16-mixed"
            )

    def training_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar whose gradient is that of the sum of all losses, and the losses by name.

        Its value is the largest network's loss.
        """
        progress = self.trainer.global_step / max(1.0, self.trainer.estimated_stepping_batches)
        archs = self.sandwich.draw(
            self.network.space, self.trainer.global_step, progress, self.global_rank
        )
        output = self.network(batch, archs[0])
        loss, _ = self.loss_of(output, batch)
        teacher = output.logits.detach()
        total = Gradients(self.network)
        total.add(loss)
        distilled = []
        for arch in archs[1:]:
            output = self.network(batch, arch)
            distilled.append(distillation(output.logits, teacher, self.sandwich.temperature))
            total.add(torch.stack([distilled[-1], *output.aux_losses.values()]).sum())
        parts = {"distillation": torch.stack(distilled).mean().detach()} if distilled else {}
        return total.as_loss(loss.detach()), parts


class Gradients:
    """Sums gradients of losses whose graphs are let go one after the other.

    Args:
        module: whose parameters they are for.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.sums: list[Tensor] = [torch.zeros_like(p) for p in self.parameters]

    def add(self, loss: Tensor) -> None:
        """Add the gradient of a loss, and free its graph."""
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for total, gradient in zip(self.sums, found, strict=True):
            if gradient is not None:
                total.add_(gradient)

    def as_loss(self, value: Tensor) -> Tensor:
        """A scalar of the given value, whose gradient is the sum.

        So clipping, accumulation and the reduction over processes are those of any training; a
        parameter that no architecture used has a gradient of 0.
        """
        return GivenGradient.apply(value, self.sums, *self.parameters)


class GivenGradient(torch.autograd.Function):
    """A value with a gradient that is known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        """The value; `gradients` are those of the parameters."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients times that of the value."""
        return None, None, *(grad * gradient for gradient in ctx.gradients)


def distillation(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student), mean over rows, times T^2 (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        logits: [N, C] of the student.
        teacher: [N, C], its scores.
        temperature: T.
    """
    student = (logits.float() / temperature).log_softmax(dim=1)
    target = (teacher.float() / temperature).log_softmax(dim=1)
    divergence = nn.functional.kl_div(student, target, reduction="batchmean", log_target=True)
    return divergence * temperature**2
