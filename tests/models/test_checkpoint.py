"""Checkpoints that do not fit are refused with everything that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pc3d.models.checkpoint import FORMAT, KEY, PREFIX, check_facts, load_network, read_checkpoint

FACTS = {"format": FORMAT, "model": {"widths": [8, 8]}, "features": ["color"], "voxel_size": 0.02}


def network(width: int = 3) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def content(**changes: Any) -> dict[str, Any]:
    state = {PREFIX + name: value for name, value in network().state_dict().items()}
    return {"state_dict": {**state, "val_confusion.matrix": torch.zeros(2)}, KEY: FACTS, **changes}


def saved(folder: Path, value: object) -> Path:
    path = folder / "epoch=3 (1).ckpt"
    torch.save(value, path)
    return path


def test_round_trip(tmp_path):
    checkpoint = read_checkpoint(saved(tmp_path, content()))
    assert checkpoint[KEY] == FACTS
    restored = network()
    for parameter in restored.parameters():
        nn.init.zeros_(parameter)
    load_network(restored, checkpoint, "a.ckpt")
    for name, value in network().state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.ckpt"):
        read_checkpoint(tmp_path / "missing.ckpt")
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "value",
    [{"state_dict": {}}, {"state_dict": {}, KEY: "1"}, {KEY: {}}, [1, 2], torch.zeros(3)],
    ids=["foreign", "facts are text", "no format", "a list", "a tensor"],
)
def test_not_written_by_us(tmp_path, value):
    with pytest.raises(ValueError, match=r"not written by pc3d|cannot be read"):
        read_checkpoint(saved(tmp_path, value))


def test_newer_format(tmp_path):
    path = saved(tmp_path, content(**{KEY: {**FACTS, "format": FORMAT + 1}}))
    with pytest.raises(ValueError, match=rf"format {FORMAT + 1}.*up to {FORMAT}.*upgrade"):
        read_checkpoint(path)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "flipped"])
def test_corrupted_file(tmp_path, damage):
    path = saved(tmp_path, content())
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "text": b"<html>404</html>",
            "empty": b"",
            "flipped": data[:100] + bytes(b ^ 0x55 for b in data[100:180]) + data[180:],
        }[damage]
    )
    with pytest.raises(ValueError, match=r"epoch=3 \(1\)\.ckpt cannot be read"):
        read_checkpoint(path)


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    target = tmp_path / "touched"
    path = saved(tmp_path, content(extra=Malicious(target)))
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(path)
    assert not target.exists()


def test_another_model_lists_keys_and_shapes_and_loads_nothing():
    other = nn.Sequential(nn.Linear(2, 4), nn.Identity(), nn.Linear(4, 1))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_network(other, content(), "old.ckpt")
    text = str(error.value)
    for part in (
        "old.ckpt",
        "'widths': [8, 8]",
        "missing: 2.weight",
        "unexpected: 1.running_mean",
        "shape of 0.weight: checkpoint (3, 2), model (4, 2)",
    ):
        assert part in text
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_a_long_list_of_differences_is_cut():
    big = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    with pytest.raises(ValueError, match=r"\.\.\. \d+ more$") as error:
        load_network(big, content(), "old.ckpt")
    assert len(str(error.value).splitlines()) == 14


def test_another_label_space_lists_both_values():
    data = {"features": ["color"], "voxel_size": 0.05, "spec": {"name": "semantickitti19"}}
    with pytest.raises(ValueError) as error:
        check_facts({**FACTS, "spec": {"name": "scannet20"}}, data, "best.ckpt")
    text = str(error.value)
    for part in ("best.ckpt", "0.02", "0.05", "scannet20", "semantickitti19"):
        assert part in text
    assert "color" not in text  # what agrees is not listed


def test_a_missing_fact_differs_and_an_extra_one_does_not():
    check_facts({**FACTS, "protocol": "x"}, {"voxel_size": 0.02}, "best.ckpt")
    with pytest.raises(ValueError, match="checkpoint None, data 'scannet20'"):
        check_facts(FACTS, {"spec": "scannet20"}, "best.ckpt")
