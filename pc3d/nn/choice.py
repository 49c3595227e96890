"""How a voxel chooses among codes: from logits [N, D, G] to weights [N, D, G] that sum to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from pc3d.nn.observe import observe

Kind = Literal["soft", "gumbel", "st_argmax", "topk"]
KINDS = ("soft", "gumbel", "st_argmax", "topk")
MIN_TEMPERATURE = 1e-3
TINY = 1e-12


class Choice(nn.Module):
    """Weights of the codes, for every voxel and group.

    `progress`, the fraction of the training that is done, drives temperature and warm-up; a
    callback of the training sets it, and a checkpoint carries it.

    Args:
        kind: `"soft"`: softmax. `"gumbel"`: softmax with Gumbel noise in training (Jang et al.
            2017, arXiv 1611.01144), argmax in evaluation. `"st_argmax"`: one code, with the
            gradient of the softmax (straight-through, Bengio et al. 2013, arXiv 1308.3432).
            `"topk"`: the softmax over the k largest logits.
        temperature: T at the start and at the end; in between T decays geometrically.
        warmup: fraction of the training over which the choice grows out of the uniform one.
        noise: standard deviation of Gaussian noise on the logits in training (Shazeer et al. 2017,
            arXiv 1701.06538).
        k: number of codes for `"topk"`.
        couple_grad: let the gradient of the logits reach the codes; the publication does not.

    Raises:
        ValueError: an unknown kind, a temperature that is not positive, a fraction outside [0, 1].
    """

    def __init__(
        self,
        kind: Kind = "soft",
        temperature: Sequence[float] = (1.0, 1.0),
        warmup: float = 0.0,
        noise: float = 0.0,
        k: int = 2,
        couple_grad: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"choice must be one of {', '.join(KINDS)}; got {kind!r}")
        if len(temperature) != 2 or not all(t >= MIN_TEMPERATURE for t in temperature):
            raise ValueError(
                "temperature must be two numbers, at the start and at the end, of at least "
                f"{MIN_TEMPERATURE}; got {list(temperature)}"
            )
        if not 0 <= warmup <= 1 or noise < 0:
            raise ValueError(
                f"warmup must be in [0, 1] and noise >= 0; got warmup={warmup}, noise={noise}"
            )
        if kind == "topk" and k < 2:
            raise ValueError(f"topk needs k >= 2; got {k}. For one code use st_argmax.")
        self.kind, self.temperature, self.k = kind, tuple(temperature), k
        self.warmup, self.noise, self.couple_grad = warmup, noise, couple_grad
        self.progress: Tensor
        self.register_buffer("progress", torch.zeros(()))

    @property
    def is_one_hot(self) -> bool:
        """Whether each voxel and group takes one code now, and nothing is differentiated."""
        if self.kind not in ("gumbel", "st_argmax") or self.training or torch.is_grad_enabled():
            return False
        return not self.warmup or bool(self.progress >= self.warmup)

    def forward(self, logits: Tensor, share: Tensor | None = None) -> Tensor:
        """Weights [N, D, G] from logits [N, D, G]; their sum over D is 1.

        `share` ([D], see `Codebook`; None: equal ones) weighs the codes: the two that one was split
        into are chosen as much as it was, and a code that is yet to come is not chosen.
        """
        if share is None:
            share = logits.new_ones(logits.shape[1])
        start, end = self.temperature
        if self.training and self.noise:
            logits = logits + self.noise * torch.randn_like(logits)
        if self.training and self.kind == "gumbel":
            logits = logits - torch.empty_like(logits).exponential_().log()
        sharpness = (end / start) ** -self.progress / start
        weights = torch.addcmul(share.log().unsqueeze(1), logits, sharpness).softmax(dim=1)
        if self.kind == "topk":
            least = weights.topk(min(self.k, weights.shape[1]), dim=1).values[:, -1:]
            weights = weights * (weights >= least)
            weights = weights / weights.sum(dim=1, keepdim=True)
        elif self.kind in ("gumbel", "st_argmax"):
            hard = torch.zeros_like(weights).scatter_(1, weights.argmax(dim=1, keepdim=True), 1.0)
            weights = hard + weights - weights.detach()
        if self.warmup:
            grown = (self.progress / self.warmup).clamp(max=1)
            weights = grown * weights + (1 - grown) * (share / share.sum()).unsqueeze(1)
        return weights

    def extra_repr(self) -> str:
        return f"{self.kind}, temperature={self.temperature}, warmup={self.warmup}"


def observe_choices(network: nn.Module) -> AbstractContextManager[dict[str, Tensor]]:
    """Collects the weights [N, D, G] of every `Choice` of a network; see `pc3d.nn.observe`."""
    return observe(network, Choice)


def usage(weights: Tensor) -> Tensor:
    """[D, G], the mean weight of every code in every group. `weights` is [N, D, G]."""
    return weights.mean(dim=0)


def entropy(weights: Tensor, dim: int) -> Tensor:
    """-sum w log w over `dim`, in nats; 0 log 0 is 0."""
    return -torch.xlogy(weights, weights).sum(dim=dim)


def usage_loss(weights: Tensor) -> Tensor:
    """How far the codes' mean weights are from equal: log D - H(usage), mean over groups; >= 0."""
    most = math.log(weights.shape[1])
    return most - entropy(usage(weights).clamp(min=TINY), dim=0).mean()


def balance_loss(weights: Tensor) -> Tensor:
    """The load balance of Switch Transformers (Fedus et al. 2021, arXiv 2101.03961, eq. 4).

    D * sum over codes of (fraction that prefers the code) * (mean weight of the code), mean over
    groups; 1 for balanced choices, D where everything goes to one code.
    """
    num_codes = weights.shape[1]
    preferred = nn.functional.one_hot(weights.argmax(dim=1), num_codes).to(weights.dtype)
    fraction = preferred.mean(dim=0).T  # [D, G]
    return num_codes * (fraction * usage(weights)).sum(dim=0).mean()
