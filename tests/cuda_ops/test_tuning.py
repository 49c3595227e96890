"""Tiles are timed only where that was asked for and nobody waits."""

from __future__ import annotations

import json

import pytest
import torch

from cuda_ops.sparse_conv import config, tuning
from tests.cuda_ops.emulation.gpu import EmulatedGpu

pytest.importorskip("triton")
SIZES = (100_000, 27, 64, 64)
MODEL = config.config_for((9, 0), 2, *SIZES)
OTHERS = [c for c in config.candidates((9, 0), 2, 64, 64) if c != MODEL]


@pytest.fixture
def timed(tmp_path, monkeypatch) -> list[config.Config]:
    """Configurations that were timed; the last candidate is the fastest."""
    monkeypatch.setenv("PC3D_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PC3D_TUNE", "1")
    calls: list[config.Config] = []

    def time_of(run: object, one: config.Config) -> float:
        calls.append(one)
        return 1.0 if one == OTHERS[-1] else 2.0

    monkeypatch.setattr(tuning, "time_of", time_of)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    tuning.tuning_file.cache_clear()
    return calls


def choose(num_out: int = SIZES[0]) -> config.Config:
    sizes = (num_out, *SIZES[1:])
    return tuning.chosen(EmulatedGpu(), torch.bfloat16, sizes, MODEL, lambda one: None)


def test_nothing_is_timed_unless_asked_for(timed, monkeypatch):
    monkeypatch.delenv("PC3D_TUNE")
    assert choose() == MODEL and timed == []


def test_the_fastest_is_kept_for_clouds_of_about_that_size(timed, tmp_path):
    assert choose() == OTHERS[-1]
    assert set(timed) == {MODEL, *OTHERS}
    timed.clear()
    assert choose(99_000) == OTHERS[-1] and timed == []  # within the same power of two
    choose(200_000)
    assert timed
    (file,) = tmp_path.glob("tuning_*.json")
    assert len(json.loads(file.read_text())) == 2


def test_ranks_that_train_together_time_nothing(timed, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert choose() == MODEL and timed == []


def test_but_use_what_is_known(timed, monkeypatch):
    choose()
    timed.clear()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert choose() == OTHERS[-1] and timed == []


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": [1, 2]}', '{"a": 3}'])
def test_a_damaged_file_is_as_good_as_none(timed, tmp_path, text):
    file = tuning.tuning_file(EmulatedGpu())
    assert file is not None
    file.write_text(text)
    assert choose() == OTHERS[-1]


def test_where_nothing_can_be_kept_the_model_serves(timed, monkeypatch):
    monkeypatch.setattr(tuning, "tuning_file", lambda gpu: None)
    assert choose() == MODEL
