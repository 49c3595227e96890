"""What a prediction depends on names the folder that it is kept in; nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config
from pc3d.cli.pool import doubts
from pc3d.cli.test import STATED, protocol_name, protocol_of
from pc3d.data.views import View, Voting

TWO = (View(), View(flip="x"))


@pytest.fixture(autouse=True)
def data_folder(monkeypatch):
    monkeypatch.setenv("PC3D_DATA", "data")


def protocol(*overrides: str, voting: Voting | None = None) -> dict[str, Any]:
    config = compose_config("config", ["paths.run_dir=run", "model=minkunet14a", *overrides])
    data = build_data(config)
    data.voting = voting or Voting()
    return protocol_of(config, data)


def folder(*overrides: str, voting: Voting | None = None) -> str:
    return protocol_name(voting or Voting(), protocol(*overrides, voting=voting))


def test_everything_that_changes_a_prediction_changes_the_folder():
    names = [
        folder(),
        folder("task.max_eval_voxels=7"),
        folder("dataset.voxel_size=0.3"),
        folder("dataset.features=[color]"),
        folder("augment.eval=[]"),
        folder("dataset.reader.root=elsewhere"),
        folder("trainer.precision=bf16-mixed"),
        folder("model.stem_kernel_size=5"),
        folder("dataset=scannet", "recipe=default", "dataset.voxel_size=0.08"),
        folder(voting=Voting(fragments=True)),
        folder(voting=Voting(views=TWO)),
        folder(voting=Voting(views=TWO[::-1])),
        folder(voting=Voting(views=TWO, fragments=True)),
    ]
    assert len(set(names)) == len(names)
    assert [name.rsplit("-", 1)[0] for name in names[-5:]] == [
        "single",
        "fragments",
        "tta2",
        "tta2",
        "tta2_fragments",
    ]


def test_what_changes_no_prediction_keeps_the_folder():
    others = ("num_workers=7", "seed=5", "dataset.max_voxels=9", "augment.train=[]")
    assert folder(*others, "trainer=ddp_cpu", "loss=lovasz", "paths.cache_dir=x") == folder()


def test_folds_of_one_protocol_are_alike_and_others_are_doubted():
    """Areas differ from fold to fold; how stairs are counted must not."""

    def fold(area: int, *overrides: str) -> dict[str, Any]:
        found = protocol("dataset=s3dis", f"dataset.reader.test_area={area}", *overrides)
        stated = {key: found[key] for key in STATED}
        return {
            "metric": "test/miou_point",
            "scenes": [f"Area_{area}/office_1"],
            "settings": stated,
        }

    names = ["a", "b"]
    assert doubts([fold(1), fold(2)], names) == []
    (doubt,) = doubts([fold(1), fold(2, "dataset.reader.stairs=ignore")], names)
    assert "'stairs': 'clutter'" in doubt and "'stairs': 'ignore'" in doubt
    assert folder("dataset=s3dis") != folder("dataset=s3dis", "dataset.reader.test_area=1")


def test_other_code_is_another_protocol(monkeypatch):
    before = folder()
    monkeypatch.setattr("pc3d.cli.test.code_version", lambda: "another commit")
    assert folder() != before and "code" not in STATED


def test_every_number_of_a_protocol_is_one_of_json():
    json.dumps(protocol("dataset=semantickitti"), allow_nan=False)
