"""`pc3d augmentations` from the command line."""

from __future__ import annotations

import pytest

from pc3d.cli import augmentations
from tests.conftest import TINY
from tests.visualize.test_runs_page import data_of
from visualize import augmentations as page


@pytest.fixture(autouse=True)
def places(data_dir, monkeypatch):
    monkeypatch.setenv("PC3D_DATA", str(data_dir))
    monkeypatch.setattr(page, "SIZE", (92, 70))


def run(*arguments: str) -> None:
    augmentations.run([*TINY, *arguments])


def test_the_page_of_a_scene(tmp_path, capsys):
    path = tmp_path / "a=b.html"
    run("augment=geometry", "scene=scene0001_00", "epochs=1", f"out={path}", "seed=3")
    shown = capsys.readouterr().out
    assert f"{path}: scene0001_00, 5 steps of the recipe, 12 others, " in shown
    found = data_of(path)
    assert found["title"] == "Augmentation of scene0001_00"
    chosen = "dataset=synthetic  recipe=synthetic  augment=geometry  split=train  seed=3"
    kept = "Scenes of validation, test and prediction get CenterShift."
    assert found["lines"] == [chosen, kept]
    pipeline, recipe, others = (section["cards"] for section in found["sections"])
    assert [p["title"] for p in pipeline[0]["pictures"]] == ["original", "epoch 0"]
    assert (len(recipe), len(others), len(found["unfit"])) == (5, 12, 3)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("scene=scene9", "scene=scene9: split train of .* has no such scene; it has scene0000_00"),
        ("split=trian", "split=trian: expected train, val, test"),
        ("epochs=0", "epochs=0: expected a whole number from 1 to 8"),
        ("epochs=1.5", r"epochs=1\.5: expected"),
        ("out=a.png", r"out=.*: expected a path that ends in \.html"),
        ("out=null", "out=None: expected"),
        ("seed=-1", "seed=-1: expected a whole number, 0 or more"),
        ("augment=indor", "indor"),
        ("epoch=3", "epoch"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(argument, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=message):
        run(argument)
    assert not [*tmp_path.iterdir()]


def test_a_folder_is_not_a_page(tmp_path):
    (tmp_path / "a.html").mkdir()
    with pytest.raises(ValueError, match="is a folder; expected a file to write"):
        run(f"out={tmp_path}/a.html")


def test_a_step_that_fails_is_said(tmp_path, caplog):
    step = "{_target_: pc3d.data.transforms.RangeFilter, max_distance: 1e-9}"
    run(f"augment.train=[{step}]", "epochs=1", f"out={tmp_path}/a.html")
    assert "warning: RangeFilter (train 1) fails: scene scene0000_00: " in caplog.text
    assert (tmp_path / "a.html").is_file()
