"""Losses whose class weights come from the labels of the training split."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from pc3d.cli.build import build_data, build_loss
from pc3d.cli.config import compose_config
from pc3d.losses import CrossEntropy, Focal, inverse_frequency, log_frequency
from tests.conftest import TINY


@pytest.fixture
def build(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The loss and the data module of overrides, on generated rooms."""
    monkeypatch.setenv("PC3D_DATA", str(data_dir))

    def make(*overrides: str):
        cache = f"dataset.cache_dir={tmp_path}"
        config = compose_config("config", [*TINY, *overrides, cache, "paths.run_dir=."])
        data = build_data(config)
        return build_loss(config, data), data

    return make


def test_weights_are_those_of_the_labels_in_the_files(build, caplog):
    with caplog.at_level(logging.INFO):
        loss, data = build("loss=cross_entropy_weighted")
    counts = torch.zeros(20, dtype=torch.int64)
    for scene in data.reader.scenes("train"):
        segment = torch.from_numpy(data.reader.read(scene, "train").segment)
        counts += torch.bincount(segment[segment >= 0], minlength=20)
    assert data.class_counts() == counts.tolist()
    assert isinstance(loss, CrossEntropy)
    torch.testing.assert_close(loss.class_weights, torch.tensor(log_frequency(counts.tolist())))
    assert "class weights wall 0." in caplog.text


def test_the_function_is_chosen_on_the_command_line(build):
    loss, data = build(
        "loss=cross_entropy_weighted", "class_weights@loss.class_weights=sqrt_inverse"
    )
    expected = inverse_frequency(data.class_counts(), power=0.5)
    torch.testing.assert_close(loss.class_weights, torch.tensor(expected))
    loss, _ = build("loss=focal", "+class_weights@loss.class_weights=inverse")
    assert isinstance(loss, Focal)
    expected = inverse_frequency(data.class_counts())
    torch.testing.assert_close(loss.class_weights, torch.tensor(expected))


def test_functions_inside_sums_are_found(build):
    loss, data = build("loss=cross_entropy_weighted_lovasz", "loss.losses.0.label_smoothing=0.1")
    expected = torch.tensor(log_frequency(data.class_counts()))
    torch.testing.assert_close(loss.losses[0].class_weights, expected)
    assert loss.losses[0].label_smoothing == 0.1


def test_without_a_function_nothing_is_measured(build, monkeypatch):
    monkeypatch.setattr("pc3d.data.datamodule.class_counts", None)
    loss, _ = build("loss=cross_entropy")
    assert loss.class_weights is None
    loss, _ = build("loss=cross_entropy", f"loss.class_weights={list(range(20))}")
    assert loss.class_weights.tolist() == list(range(20))
    build("loss=focal")
    build("loss=cross_entropy_dice")
