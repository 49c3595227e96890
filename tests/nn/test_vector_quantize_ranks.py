"""Vector quantisation by two processes is that of one with the whole batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pc3d.nn.vector_quantize import VectorQuantizer
from tests.attack import asymmetric
from tests.nn.vectors import DIM, assert_same_state, state

SECONDS = 100.0
CODES = 6
RANDOM = {"num_codes": CODES, "dim": DIM, "decay": 0.7}
KMEANS = {**RANDOM, "init": "kmeans", "dead_threshold": 2.5}
Step = tuple[int, int]
UNEVEN: list[Step] = [(0, 0), (21, 30), (0, 17), (40, 40), (0, 0), (2, 3), (1, 1), (33, 50)]
"""Rows of rank 0, and of both, step by step: with none on one, on the other and on both."""
EVEN: list[Step] = [(0, 0), (20, 40), (10, 20), (1, 2), (16, 32)]
CASES: dict[str, tuple[dict[str, Any], list[Step]]] = {
    "averages": (RANDOM, UNEVEN),
    "k-means": ({**KMEANS, "dead_threshold": 0.0}, UNEVEN),
    "k-means and revival": (KMEANS, UNEVEN),
    "cosine": ({**KMEANS, "metric": "cosine", "gradient": "rotation"}, UNEVEN),
    "learnable": ({**KMEANS, "update": "learnable"}, EVEN),
    "learnable, cosine": ({**KMEANS, "update": "learnable", "metric": "cosine"}, EVEN),
    "learnable, uneven": ({**KMEANS, "update": "learnable"}, UNEVEN),
}
Result = tuple[list[dict[str, Tensor]], list[Tensor]]


def train(options: dict[str, Any], steps: Sequence[Step], rank: int = 0, ranks: int = 1) -> Result:
    """The state and the indices after every step of a rank."""
    torch.manual_seed(0)
    module = VectorQuantizer(**options)
    torch.manual_seed(rank)  # ranks that draw different numbers must not go different ways
    network: nn.Module = module
    if ranks > 1 and any(True for _ in module.parameters()):
        # It complains, in the next step, about parameters without a gradient.
        network = DistributedDataParallel(module, broadcast_buffers=False)
    states, indices = [], []
    for number, (cut, num) in enumerate(steps):
        whole = asymmetric(num, DIM, dtype=torch.float32, seed=number) * (1 + number)
        x = whole if ranks == 1 else (whole[:cut], whole[cut:])[rank]
        _, index, loss = network(x.requires_grad_())
        loss.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter -= 0.3 * parameter.grad
                parameter.grad = None
        states.append(state(module))
        indices.append(index)
    return states, indices


def run_rank(rank: int, folder: Path) -> None:
    """What a process does: every case, and its results into a file."""
    torch.set_num_threads(1)
    train(RANDOM, EVEN)  # alone: no answer about the group may be remembered from here
    timeout = timedelta(seconds=SECONDS / 2)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timeout)
    found = {name: train(*case, rank=rank, ranks=2) for name, case in CASES.items()}
    dist.destroy_process_group()
    torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Result]]:
    """The results of both ranks; fails if they have none in `SECONDS`."""
    if not dist.is_available():
        pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("ranks")
    processes = [mp.get_context("spawn").Process(target=run_rank, args=(r, folder)) for r in (0, 1)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    assert codes == [0, 0], "None: it hung"
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_both_ranks_have_the_same_codebook(results, name):
    (states, _), (others, _) = (result[name] for result in results)
    for a, b in zip(states, others, strict=True):
        assert_same_state(a, b)


@pytest.mark.parametrize("name", [name for name in CASES if name != "learnable, uneven"])
def test_two_ranks_are_one_process_with_the_whole_batch(results, name):
    options, steps = CASES[name]
    states, indices = train(options, steps)
    (found, first), (_, second) = (result[name] for result in results)
    for number in range(len(steps)):
        assert torch.equal(torch.cat([first[number], second[number]]), indices[number]), number
        for key, value in states[number].items():
            torch.testing.assert_close(found[number][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_cases_are_an_attack(name):
    """What they are about does happen, and no case is settled by the start alone."""
    options, steps = CASES[name]
    states, _ = train(options, steps)
    assert not torch.equal(states[0]["codes"], states[-1]["codes"])
    if options.get("dead_threshold"):
        without, _ = train({**options, "dead_threshold": 0.0}, steps)
        assert not torch.equal(states[-1]["codes"], without[-1]["codes"])
    half, _ = train(options, [(cut, cut) for cut, _ in steps])
    assert not torch.allclose(states[-1]["codes"], half[-1]["codes"], atol=1e-2)
