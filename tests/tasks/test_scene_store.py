"""What is kept of a test: only what is whole, of today's scenes and files, counts as done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pc3d.metrics import count_scene
from pc3d.tasks.scene_store import SceneStore
from pc3d.utils.run_folder import newest_prediction

SCENES = ("00/000000", "00/000001", "08/000007")


class Reader:
    """Scenes of a text file each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def source_files(self, scene: str) -> list[Path]:
        return [self.root / f"{scene.replace('/', '_')}.txt", self.root / "nowhere"]

    def write_prediction(self, folder: Path, scene: str, classes: np.ndarray) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{scene.replace('/', '_')}.label").write_text(str(classes.tolist()))


@pytest.fixture
def store(tmp_path: Path) -> SceneStore:
    """All scenes are tested."""
    reader = Reader(tmp_path / "data")
    reader.root.mkdir()
    store = SceneStore(tmp_path / "run" / "predictions" / "hash" / "val" / "single-1", reader)
    for scene in SCENES:
        reader.source_files(scene)[0].write_text("points")
    store.prepare(SCENES, {"views": 1}, resume=True)
    for number, scene in enumerate(SCENES):
        store.save(scene, classes_of(number), counts_of(number))
    return store


def classes_of(number: int) -> np.ndarray:
    return np.arange(10 + number) % 3


def counts_of(number: int):
    classes = torch.from_numpy(classes_of(number))
    return count_scene(classes, (classes + 1) % 3, torch.arange(10.0 + number), 3)


def reopened(store: SceneStore) -> SceneStore:
    return SceneStore(store.folder, store.reader)


def test_what_was_saved_comes_back(store):
    again = reopened(store)
    assert again.prepare(SCENES, {}, resume=True) == list(SCENES)
    for number, scene in enumerate(SCENES):
        for found, expected in zip(again.counts(scene), counts_of(number), strict=True):
            assert torch.equal(found, expected)
        array = np.load(store.folder / f"{scene}.npy")
        assert array.dtype == np.int16
        np.testing.assert_array_equal(array, classes_of(number))
    assert len(list(store.submission.iterdir())) == 3


@pytest.mark.parametrize("harm", ["no counts", "no classes", "short", "damaged", "empty", "files"])
def test_a_scene_that_is_not_whole_or_current_is_not_done(store, harm):
    scene = SCENES[1]
    counts = store.folder / "counts" / f"{scene}.npz"
    classes = store.folder / f"{scene}.npy"
    if harm == "no counts":
        counts.unlink()
    elif harm == "no classes":
        classes.unlink()
    elif harm == "short":
        np.save(classes, np.zeros(3, dtype=np.int16))
    elif harm == "damaged":
        counts.write_bytes(counts.read_bytes()[:-40])
    elif harm == "empty":
        counts.write_bytes(b"")
    else:
        os.utime(store.reader.source_files(scene)[0], ns=(0, 1))
    assert not store.has(scene)
    assert reopened(store).prepare(SCENES, {}, resume=True) == [SCENES[0], SCENES[2]]
    assert not classes.exists() and not counts.exists()
    written = {path.name for path in store.submission.iterdir()}
    assert written == {"00_000000.label", "08_000007.label"}


def test_the_counts_are_written_last(store, monkeypatch):
    """A test that is killed while it writes a submission has not done that scene."""
    scene = SCENES[0]
    store.prepare(SCENES, {}, resume=False)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.reader, "write_prediction", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(scene, classes_of(0), counts_of(0))
    assert (store.folder / f"{scene}.npy").exists()
    assert not store.has(scene)


def test_starting_over_and_scenes_that_left_the_split(store):
    assert store.prepare(SCENES[:2], {}, resume=True) == list(SCENES[:2])
    assert not (store.folder / f"{SCENES[2]}.npy").exists()
    assert not store.has(SCENES[2])
    assert store.prepare(SCENES, {}, resume=False) == []
    assert not list(store.folder.rglob("*.np?")) and not store.submission.exists()


def test_what_a_killed_test_was_writing_goes(store):
    stale = store.folder / "00" / ".000000.npy.77.tmp"
    stale.touch()
    assert store.prepare(SCENES, {"views": 1}, resume=True) == list(SCENES)
    assert not stale.exists()


def test_a_submission_is_made_anew_from_the_classes(store):
    path = store.submission / "00_000000.label"
    path.unlink()
    (store.submission / "stale.label").touch()
    store.prepare(SCENES, {}, resume=True)
    assert path.read_text() == str(classes_of(0).tolist())
    assert len(list(store.submission.iterdir())) == 3


def test_the_newest_test_is_the_one_that_started_last(store, tmp_path):
    other = SceneStore(store.folder.with_name("tta4-2"), store.reader)
    other.prepare(SCENES, {}, resume=True)
    other.save(SCENES[2], classes_of(2), counts_of(2))
    os.utime(other.folder / "protocol.json", (2**33, 2**33))
    tested, scene = newest_prediction(tmp_path / "run", "val", "")
    assert (tested.folder, tested.checkpoint_hash, tested.split) == (other.folder, "hash", "val")
    assert scene == SCENES[2]
    os.utime(other.folder / "protocol.json", (0, 0))
    assert newest_prediction(tmp_path / "run", "val", "")[0].folder == store.folder
