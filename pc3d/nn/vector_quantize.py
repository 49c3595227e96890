"""Vector quantisation: every vector is replaced by the nearest of K codes.

VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937). With x a vector, e_k the codes, sg the
stop-gradient and gamma = `decay`:

    k(x)  = argmin over k of |x - e_k|,    q = e_k(x)
    loss  = w * mean (x - sg(q))^2,        plus mean (sg(x) - q)^2 for a learnable codebook

The moving averages (appendix A.1 there), over the batches of all processes together:

    n_k <- gamma n_k + (1 - gamma) * number of x at k
    m_k <- gamma m_k + (1 - gamma) * sum of x at k
    e_k  = m_k / n'_k,    n'_k = (n_k + eps) / (n + K eps) * n,    n = sum over k of n_k

The cosine metric is the same on the unit sphere: x / |x| stands for x, and e_k = m_k / |m_k|.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cuda_ops.segment import sum_rows
from pc3d.nn.choice import entropy

Update = Literal["ema", "learnable"]
Metric = Literal["euclidean", "cosine"]
Gradient = Literal["straight_through", "rotation"]
Init = Literal["random", "kmeans"]
KMEANS_ITERATIONS = 10
KMEANS_ROWS = 64
"""Rows per code that k-means looks at, at most; the averages soon know better."""
MIN_NORM = 1e-6
"""A shorter vector has no direction."""
SCORES_AT_ONCE = 2**22
"""Entries of the matrix between vectors and codes that exist at a time."""


class VectorQuantizer(nn.Module):
    """Vectors [N, dim] to codes [N, dim], their indices [N] and a loss.

    It computes in float32 whatever autocast says, and its codebook stays float32 when a network is
    converted to half precision; what comes back has the dtype of what came in. Vectors that are not
    finite, and for the cosine metric those without direction, change neither codes nor averages.

    Where `torch.distributed` runs, every process must call the module equally often in training,
    with no vectors if it has none, and start from the same state, as DDP sees to. Averages, k-means
    and revival then act as if one process had all vectors, in the order of the ranks. Every pass in
    training is a step, so two passes per optimizer step are two updates.

    Args:
        num_codes: K.
        dim: length of a vector.
        update: `"ema"`: codes are moving averages of their vectors. `"learnable"`: codes are a
            parameter, and the loss has a term that pulls them to their vectors.
        metric: `"euclidean"`, or `"cosine"`: everything on the unit sphere, outputs included.
        gradient: what the vectors receive. `"straight_through"`: the gradient of the output
            (Bengio et al. 2013, arXiv 1308.3432). `"rotation"`: the gradient through the rotation
            and scaling that carries x to q (Fifty et al. 2024, arXiv 2410.06424).
        init: `"random"`, or `"kmeans"` of the first batch in training that has a vector.
        decay: gamma, the share that an average keeps per step.
        eps: of the Laplace smoothing.
        commitment_weight: w.
        dead_threshold: a code with a smaller n_k is replaced by a vector of the batch and starts
            with n_k = `dead_threshold`; 0 for never. Choose it well below the vectors per step and
            code. The optimizer's memory of a learnable code is not reset.

    Raises:
        ValueError: an unknown option, or a number out of its range.
    """

    def __init__(
        self,
        *,
        num_codes: int,
        dim: int,
        update: Update = "ema",
        metric: Metric = "euclidean",
        gradient: Gradient = "straight_through",
        init: Init = "random",
        decay: float = 0.99,
        eps: float = 1e-5,
        commitment_weight: float = 0.25,
        dead_threshold: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("update", update, ("ema", "learnable")),
            ("metric", metric, ("euclidean", "cosine")),
            ("gradient", gradient, ("straight_through", "rotation")),
            ("init", init, ("random", "kmeans")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        if num_codes < 1 or dim < 1:
            raise ValueError(
                "a codebook needs at least one code of at least one channel; got "
                f"num_codes={num_codes}, dim={dim}"
            )
        if not 0 <= decay < 1 or not eps > 0:
            raise ValueError(
                f"decay must be in [0, 1) and eps > 0; got decay={decay}, eps={eps}. "
                "For codes that stay as they are call eval()."
            )
        if not commitment_weight >= 0 or not dead_threshold >= 0:
            raise ValueError(
                "commitment_weight and dead_threshold must be >= 0; got "
                f"commitment_weight={commitment_weight}, dead_threshold={dead_threshold}"
            )
        self.num_codes, self.dim, self.metric, self.gradient = num_codes, dim, metric, gradient
        self.decay, self.eps, self.dead_threshold = decay, eps, dead_threshold
        self.commitment_weight = commitment_weight
        codes = nn.init.kaiming_uniform_(torch.empty(num_codes, dim, dtype=torch.float32))
        codes = unit(codes) if metric == "cosine" else codes
        self.codes: Tensor
        self.counts: Tensor
        self.sums: Tensor | None
        self.initialized: Tensor
        if update == "ema":
            self.register_buffer("codes", codes)
        else:
            self.codes = nn.Parameter(codes)
        self.register_buffer("counts", torch.ones(num_codes, dtype=torch.float32))
        self.register_buffer("sums", codes.clone() if update == "ema" else None)
        self.register_buffer("initialized", torch.tensor(init == "random"))
        self._seen_initialized = False  # saves asking the device in every step

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise, and in training update the codebook after it.

        Args:
            x: [N, dim] floating point; N may be 0.

        Returns:
            The codes [N, dim] in the dtype of `x`; their indices [N] int64; the loss, a float32
            scalar with its weights in it, 0 where N is 0.

        Raises:
            ValueError: `x` has another shape, or is not floating point.
        """
        if x.ndim != 2 or x.shape[1] != self.dim or not x.is_floating_point():
            raise ValueError(
                f"x must be [N, {self.dim}] floating point; got {list(x.shape)} of {x.dtype}. "
                "Flatten all dimensions but the last, or change dim."
            )
        with torch.autocast(x.device.type, enabled=False):
            codes, indices, loss = self._quantize(x.to(self.codes.dtype))
        return codes.to(x.dtype), indices, loss

    def _quantize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.metric == "cosine":
            x = unit(x)
        if self.training:
            self._initialize(x.detach())
        indices = nearest(x.detach(), self.codebook().detach())
        # A copy: what follows may write to the codebook. Its gradient is summed in a fixed order.
        codes = nn.functional.embedding(indices, self.codes)
        codes = unit(codes) if self.metric == "cosine" else codes
        target, num_values = codes.detach(), max(x.numel(), 1)
        loss = self.commitment_weight * (x - target).square().sum() / num_values
        if self.sums is None:
            loss = loss + (x.detach() - codes).square().sum() / num_values
        carried = rotate(x, target) if self.gradient == "rotation" else x
        if self.training:
            self._track(x.detach(), indices)
        # The difference is 0: the value is the code to the last bit, the gradient is that of x.
        return target + (carried - carried.detach()), indices, loss

    def codebook(self) -> Tensor:
        """[K, dim], the codes; of length 1 for the cosine metric."""
        return unit(self.codes) if self.metric == "cosine" else self.codes

    def perplexity(self) -> Tensor:
        """exp of the entropy of the codes' use over recent steps: from 1, one code, to K, all."""
        return entropy(self.counts / self.counts.sum(), dim=0).exp()

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> None:
        """K-means of the first vectors. Until then, and once after, it waits for the device."""
        if self._seen_initialized:
            return
        if not bool(self.initialized):
            x = x[self._usable(x)]
            first, total = place_in_batch(x)
            num_rows = int(total)
            if num_rows == 0:
                return
            slots = min(num_rows, KMEANS_ROWS * self.num_codes)
            sample = take_rows(x, draw_rows(total, torch.full_like(total, slots), slots), first)
            codes, counts = kmeans(sample, self.num_codes, spherical=self.metric == "cosine")
            counts = (counts * (num_rows / slots)).clamp(min=1)
            everywhere = torch.ones_like(counts, dtype=torch.bool)
            self._reset(everywhere, from_rank_zero(codes), from_rank_zero(counts))
            self.initialized.fill_(True)
        self._seen_initialized = True

    @torch.no_grad()
    def _track(self, x: Tensor, indices: Tensor) -> None:
        """One step of the averages, and the revival of dead codes."""
        usable = self._usable(x).unsqueeze(1)
        ones_and_x = torch.cat([usable.to(x.dtype), torch.where(usable, x, 0.0)], dim=1)
        found = sum_over_ranks(sum_rows(ones_and_x, indices, self.num_codes))
        any_usable = found[:, 0].sum() > 0
        share = (1 - self.decay) * any_usable.to(x.dtype)  # nothing seen: nothing forgotten
        self.counts.lerp_(found[:, 0], share)
        if self.sums is not None:
            self.sums.lerp_(found[:, 1:], share)
            self.codes.copy_(torch.where(any_usable, self._means(self.sums), self.codes))
        if self.dead_threshold:
            self._revive(x)

    def _means(self, sums: Tensor) -> Tensor:
        if self.metric == "cosine":
            return unit(sums, self.codes)
        total = self.counts.sum()
        smoothed = (self.counts + self.eps) / (total + self.num_codes * self.eps) * total
        return sums / smoothed.unsqueeze(1)

    def _revive(self, x: Tensor) -> None:
        """Replace dead codes by different rows of the batch, as many as it has."""
        dead = self.counts < self.dead_threshold
        first, total = place_in_batch(x)
        drawn = draw_rows(total, dead.sum(), self.num_codes)
        rows = torch.where(dead, drawn[(dead.cumsum(0) - 1).clamp(min=0)], -1)
        vectors = take_rows(x, rows, first)
        revived = dead & (rows >= 0) & self._usable(vectors)
        self._reset(revived, vectors, torch.full_like(self.counts, self.dead_threshold))

    def _reset(self, which: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Start the codes where `which` [K] is True anew, averages included."""
        self.codes.copy_(torch.where(which.unsqueeze(1), codes, self.codes))
        self.counts.copy_(torch.where(which, counts, self.counts))
        if self.sums is not None:
            sums = codes * counts.unsqueeze(1)
            self.sums.copy_(torch.where(which.unsqueeze(1), sums, self.sums))

    def _usable(self, x: Tensor) -> Tensor:
        """[N] bool: which rows may teach the codebook."""
        finite = torch.isfinite(x).all(dim=1)
        return finite & x.any(dim=1) if self.metric == "cosine" else finite

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VectorQuantizer:
        def keep_precision(value: Tensor) -> Tensor:
            converted = fn(value)
            half = converted.dtype in (torch.float16, torch.bfloat16)
            return value.to(converted.device) if half else converted

        return super()._apply(keep_precision, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._seen_initialized = False

    def extra_repr(self) -> str:
        update = "learnable" if self.sums is None else "ema"
        return f"{self.num_codes} codes, dim={self.dim}, {update}, {self.metric}, {self.gradient}"


def unit(x: Tensor, otherwise: Tensor | float = 0.0) -> Tensor:
    """The rows of `x` [N, C] at length 1; where one has no direction, `otherwise`."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.where(norm <= MIN_NORM, otherwise, x / norm.clamp(min=MIN_NORM))


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    """[N] int64: the code [K, C] nearest to each row of `x` [N, C], the first of equals."""
    center = codes.mean(dim=0)  # differences far from the origin would drown in its distance
    codes = codes - center
    half_square = codes.square().sum(dim=1) / 2
    parts = x.split(max(1, SCORES_AT_ONCE // len(codes)))
    scores = (torch.addmm(half_square, part - center, codes.T, alpha=-1) for part in parts)
    return torch.cat([score.argmin(dim=1) for score in scores])


def rotate(x: Tensor, codes: Tensor) -> Tensor:
    """`x` [N, C] carried onto `codes` [N, C] by a rotation and a scaling that count as constants.

    lambda (I - 2 r r^T + 2 q^ x^^T) x with x^, q^ the directions of vector and code, r that of
    their sum, lambda = |q| / |x| (arXiv 2410.06424, section 4.2). Opposite directions have no r:
    what is left is the reflection that swaps them. Rows without direction stay as they are.
    """
    with torch.no_grad():
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        scale = torch.linalg.vector_norm(codes, dim=1, keepdim=True) / norm.clamp(min=MIN_NORM)
        x_unit, code_unit = unit(x), unit(codes)
        between = unit(x_unit + code_unit)
    along = (between * x).sum(dim=1, keepdim=True)
    turned = x - 2 * along * between + 2 * (x_unit * x).sum(dim=1, keepdim=True) * code_unit
    return torch.where(norm > MIN_NORM, scale * turned, x)


def kmeans(rows: Tensor, num_codes: int, *, spherical: bool) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from the seeds of k-means++ (Arthur & Vassilvitskii 2007).

    Args:
        rows: [M, C], M >= 1; of length 1 if `spherical`. With fewer different rows than codes,
            some codes are equal.
        num_codes: K.
        spherical: scale the means to length 1.

    Returns:
        The means [K, C] and the number of rows at each [K], in the dtype of `rows`. A mean without
        rows stays where it was.
    """
    codes = rows.new_empty(num_codes, rows.shape[1])
    centered = rows - rows.mean(dim=0)
    square = centered.square().sum(dim=1)
    weight, distance = torch.ones_like(square), torch.full_like(square, torch.inf)
    for number in range(num_codes):
        # The largest weight / Exp(1) is at i with probability proportional to weight i.
        seed = (weight / torch.empty_like(weight).exponential_()).argmax(dim=0, keepdim=True)
        codes[number] = rows[seed].squeeze(0)
        to_seed = square + square[seed] - 2 * centered @ centered[seed].squeeze(0)
        weight = distance = torch.minimum(distance, to_seed.clamp(min=0))
    ones_and_rows = torch.cat([torch.ones_like(rows[:, :1]), rows], dim=1)
    for _ in range(KMEANS_ITERATIONS):
        found = sum_rows(ones_and_rows, nearest(rows, codes), num_codes)
        means = found[:, 1:] / found[:, :1].clamp(min=1)
        means = unit(means, codes) if spherical else means
        codes = torch.where(found[:, :1] > 0, means, codes)
    counts = sum_rows(ones_and_rows[:, :1], nearest(rows, codes), num_codes).squeeze(1)
    return codes, counts


def draw_rows(total: Tensor, num: Tensor, slots: int) -> Tensor:
    """Different random rows of the whole batch, the same on every rank, without a wait.

    One row out of each of `num` equal stretches of the batch, so that they lie spread over it.

    Args:
        total: scalar int64, rows of the batches of all ranks together.
        num: scalar int64, how many rows are wanted, at most `slots`.
        slots: length of the result.

    Returns:
        [slots] int64, ascending; -1 after the first `num`, and in between where a batch has fewer
        rows than are wanted.
    """
    slot = torch.arange(slots, device=total.device)
    stretches = num.clamp(min=1)
    start, end = slot * total // stretches, (slot + 1) * total // stretches
    random = torch.rand(slots, dtype=torch.float64, device=total.device)
    rows = start + (random * (end - start)).long()
    return from_rank_zero(torch.where((slot < num) & (start < end), rows, -1))


def take_rows(x: Tensor, rows: Tensor, first: Tensor) -> Tensor:
    """[R, C]: rows [R] of the whole batch, of which `x` [N, C] begins at `first`; 0 for -1."""
    taken = x.new_zeros(len(rows), x.shape[1])
    if len(x):
        local = rows - first
        here = (local >= 0) & (local < len(x))
        taken = torch.where(here.unsqueeze(1), x[local.clamp(0, len(x) - 1)], 0.0)
    return sum_over_ranks(taken)


def place_in_batch(x: Tensor) -> tuple[Tensor, Tensor]:
    """Number of rows on the ranks before this one, and on all: two scalars, int64."""
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if is_distributed() else (1, 0)
    sizes = torch.zeros(ranks, dtype=torch.int64, device=x.device)
    sizes[rank] = len(x)
    sizes = sum_over_ranks(sizes)
    return sizes[:rank].sum(), sizes.sum()


def is_distributed() -> bool:
    """Whether processes run together now; not remembered, since groups come and go."""
    return dist.is_available() and dist.is_initialized()


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of `x` over all processes; every one must call."""
    if not is_distributed():
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def from_rank_zero(x: Tensor) -> Tensor:
    """The `x` of the first process; every one must call."""
    if not is_distributed():
        return x
    first = x.clone(memory_format=torch.contiguous_format)
    dist.broadcast(first, src=0)
    return first
