"""Vector quantisation against the library `vector-quantize-pytorch`, where it is installed."""

from __future__ import annotations

import pytest
import torch

from pc3d.nn.vector_quantize import VectorQuantizer
from tests.attack import asymmetric

NUM_CODES, DIM = 7, 4


@pytest.mark.parametrize(
    "metric, update", [("euclidean", "ema"), ("cosine", "ema"), ("euclidean", "learnable")]
)
@pytest.mark.parametrize("gradient", ["straight_through", "rotation"])
def test_equals_the_library(metric, gradient, update):
    library = pytest.importorskip("vector_quantize_pytorch", exc_type=ImportError)
    torch.manual_seed(0)
    ours = VectorQuantizer(
        num_codes=NUM_CODES,
        dim=DIM,
        update=update,
        metric=metric,
        gradient=gradient,
        decay=0.8,
        commitment_weight=1.0,
    )
    theirs = library.VectorQuantize(
        dim=DIM,
        codebook_size=NUM_CODES,
        decay=0.8,
        commitment_weight=1.0,
        use_cosine_sim=metric == "cosine",
        rotation_trick=gradient == "rotation",
        learnable_codebook=update == "learnable",
        ema_update=update == "ema",
    )
    with torch.no_grad():
        theirs._codebook.embed.copy_(ours.codes)
        theirs._codebook.embed_avg.copy_(ours.codes)
    for step in range(4):
        x = (1 + step) * asymmetric(50, DIM, dtype=torch.float32, seed=step)
        scale = asymmetric(50, DIM, dtype=torch.float32, seed=9)
        found = []
        for module in (ours, theirs):
            leaf = x.clone().requires_grad_()
            y, indices, loss = module(leaf)
            ((y * scale).sum() + loss.sum()).backward()
            # For a learnable codebook the library counts the two equal terms of the loss once.
            twice = 2 if module is theirs and update == "learnable" else 1
            found.append((y.detach(), indices, leaf.grad, twice * loss.detach().squeeze()))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        if update == "ema":
            torch.testing.assert_close(ours.codes, theirs._codebook.embed[0], rtol=1e-4, atol=1e-5)
        else:
            grad = theirs._codebook.embed.grad[0]
            torch.testing.assert_close(ours.codes.grad, grad, rtol=1e-4, atol=1e-5)
