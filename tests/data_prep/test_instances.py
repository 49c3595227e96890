"""The program that makes a bank, on scans in SemanticKITTI's layout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep.instances import choose, main
from pc3d.cli.build import build_data
from pc3d.cli.config import compose_config
from pc3d.data.sample import PointSample
from pc3d.data.specs import SEMANTICKITTI19
from pc3d.data.transforms import InstanceCutMix
from pc3d.data.transforms.instance_bank import InstanceBank

CAR, PERSON, ROAD = 10, 30, 40


def write_scan(root: Path, sequence: str, frame: int, objects: dict[tuple[int, int], int]) -> None:
    """Objects are {(raw id, instance): number of points}; intensity counts the points."""
    raw = np.concatenate([np.full(n, i << 16 | label) for (label, i), n in objects.items()])
    points = np.random.default_rng(frame).normal(size=(len(raw), 4)).astype("<f4") * 10
    points[:, 3] = np.arange(len(raw))
    for kind, suffix, array in (("velodyne", "bin", points), ("labels", "label", raw)):
        path = root / "sequences" / sequence / kind / f"{frame:06d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        array.astype("<f4" if kind == "velodyne" else "<u4").tofile(path)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Two training scans and one of validation, whose objects must not get into the bank."""
    monkeypatch.setenv("PC3D_DATA", str(tmp_path))
    monkeypatch.setenv("PC3D_RUN_DIR", str(tmp_path))
    folder = tmp_path / "semantickitti"
    write_scan(folder, "00", 0, {(CAR, 1): 12, (ROAD, 0): 50, (CAR, 2): 5, (PERSON, 1): 7})
    write_scan(folder, "00", 1, {(ROAD, 0): 40, (CAR, 1): 9})
    write_scan(folder, "08", 0, {(CAR, 1): 33, (PERSON, 2): 34})
    return folder


ARGUMENTS = ["dataset=semantickitti", "dataset.reader.sequences={train: ['00']}", "num_workers=0"]


def sizes(bank: InstanceBank) -> dict[int, list[int]]:
    draws = {c: [bank.draw(c, np.random.default_rng(s)) for s in range(40)] for c in bank.classes}
    return {c: sorted({len(fields["xyz"]) for fields in d}) for c, d in draws.items()}


def test_the_bank_holds_the_objects_of_the_training_scans(root, capsys):
    assert main(ARGUMENTS) == 0
    assert sizes(InstanceBank(root / "instances")) == {0: [5, 9, 12], 5: [7]}
    assert "4 instances, 33 points" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_make_the_same_bank(root, tmp_path):
    assert main([*ARGUMENTS, f"out={tmp_path / 'one'}"]) == 0
    assert main([*ARGUMENTS[:2], "num_workers=1", f"out={tmp_path / 'two'}"]) == 0
    for name in ("xyz", "intensity", "segment", "offsets"):
        one, two = (np.load(tmp_path / bank / f"{name}.npy") for bank in ("one", "two"))
        np.testing.assert_array_equal(one, two)


def test_classes_sizes_and_numbers_are_chosen(root, tmp_path):
    out = tmp_path / "cars"
    assert main([*ARGUMENTS, f"out={out}", "classes=car", "min_points=9"]) == 0
    assert sizes(InstanceBank(out)) == {0: [9, 12]}
    out = tmp_path / "few"
    assert main([*ARGUMENTS, f"out={out}", "max_per_class=1"]) == 0
    found = sizes(InstanceBank(out))
    assert [len(found[0]), len(found[5])] == [1, 1]


def test_what_is_made_is_what_the_recipe_looks_for(root):
    """`augment=lidar_cutmix` finds it without being told where."""
    assert main(ARGUMENTS) == 0
    overrides = [*ARGUMENTS, "augment=lidar_cutmix", "paths.run_dir=."]
    data = build_data(compose_config("config", overrides))
    (mix,) = data.augment.mix
    assert isinstance(mix, InstanceCutMix) and Path(mix.bank) == root / "instances"
    (batch,) = data.train_dataloader()
    pasted = batch.points.segment[batch.points.row < 0]
    assert set(pasted.tolist()) <= {0, 5, 8}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["classes=tree"], "'tree'"),
        (["min_points=few"], "few"),
        (["min_points=1000"], "no instances"),
        (["dataset.reader.root=/nowhere"], "/nowhere"),
        (["datset=scannet"], "datset"),
    ],
)
def test_refuses(arguments, words, root, capsys):
    assert main([*ARGUMENTS, *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (root / "instances").exists()


def test_refuses_to_overwrite(root, capsys):
    (root / "instances").mkdir()
    assert main(ARGUMENTS) == 2
    assert "exists; remove it" in capsys.readouterr().err


def test_every_instance_is_kept_as_often():
    """Three of eight, in random places: each has three chances in eight."""

    def instance(segment: int, number: int) -> PointSample:
        return PointSample(
            name=str(number),
            xyz=np.zeros((1, 3), np.float32),
            origin=np.zeros(3),
            row=np.zeros(1, np.int64),
            segment=np.array([segment]),
        )

    stream = [instance(5, 100), *(instance(0, n) for n in range(8)), instance(5, 101)]
    kept = Counter()
    for seed in range(800):
        chosen = choose(stream, 3, np.random.default_rng(seed))
        assert [int(i.segment[0]) for i in chosen] == [0, 0, 0, 5, 5]
        kept.update(i.name for i in chosen)
    assert kept["100"] == kept["101"] == 800
    assert [kept[str(n)] for n in range(8)] == pytest.approx([300] * 8, abs=70)
    assert SEMANTICKITTI19.class_names[5] == "person"
