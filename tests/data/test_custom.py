"""Data sets of one's own: their description, files of several formats, and what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from pc3d.data.datasets import Custom
from pc3d.data.manifest import class_counts
from pc3d.io.ply import write_vertices
from tests.data import fuzzing
from tests.data.fuzzing import Case, fuzz, read_all

FAR = np.array([650_000.0, 6_860_000.0, 30.0])
YAML = """\
name: my3
classes:
  ground: {ids: [2], color: [168, 128, 90]}
  low plants: {ids: [3, 4]}
  tree: {ids: [5]}
ignore: [0, 7]
"""
NAMES = "names: [x, y, z, intensity, label]\n"
IDS = (2, 5, 4, 7, 3, 2, 0)


def table(num: int, seed: int = 0, ids=IDS) -> np.ndarray:
    """[num, 5]: x, y, z, intensity, label."""
    rng = np.random.default_rng(seed)
    xyz = rng.random((num, 3)) * [9, 6, 2] + FAR
    return np.column_stack([xyz, np.arange(num) % 5000, np.resize(ids, num)])


def ply(path: Path, num: int = 9, **columns) -> Path:
    """A ply file with colours and labels of 8 bits."""
    count = np.arange(num)
    vertices = {
        axis: (count * step).astype(np.float32) for axis, step in zip("xyz", (1, 2, 3), strict=True)
    }
    for shift, channel in enumerate(("red", "green", "blue")):
        vertices[channel] = (count + 60 * shift).astype(np.uint8)
    vertices["class"] = np.resize(IDS, num).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_vertices(path, {k: v for k, v in {**vertices, **columns}.items() if v is not None})
    return path


def describe(root: Path, text: str = YAML) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "dataset.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """Two files of training in two formats, one of validation, one of test without labels."""
    root = tmp_path / "data"
    describe(root, YAML + NAMES + "intensity: {divide_by: 4096}\n")
    for name, num in (("train/a", 30), ("train/deep/b.2024", 40), ("val/a", 50)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{name}.npy", table(num, num))
    ply(root / "train" / "c.PLY")
    ply(root / "test" / "d.ply", 11, **{"class": None})
    (root / "train" / "notes.md").touch()
    (root / "train" / ".hidden.npy").touch()
    return root


def test_scenes_are_files_by_name(root):
    reader = Custom(root)
    assert reader.scenes("train") == ["train/a", "train/c", "train/deep/b.2024"]
    assert reader.scenes("val") == ["val/a"]
    assert reader.scenes("test") == ["test/d"]
    with pytest.raises(ValueError, match="split must be one of"):
        reader.scenes("validation")


def test_what_a_table_holds(root):
    expected = table(40, 40)
    sample = Custom(root).read("train/deep/b.2024", "train")
    assert sample.name == "train/deep/b.2024"
    np.testing.assert_allclose(sample.xyz + sample.origin, expected[:, :3], atol=1e-5)
    assert np.abs(sample.xyz).max() < 10
    np.testing.assert_array_equal(sample.intensity, (expected[:, 3] / 4096).astype(np.float32))
    assert sample.segment[:8].tolist() == [0, 2, 1, -1, 1, 0, -1, 0]
    assert sample.color is None and sample.normal is None and sample.returns is None
    assert sample.row.tolist() == list(range(40))


def test_what_a_ply_file_holds(root):
    sample = Custom(root).read("train/c", "train")
    assert sample.xyz[2].tolist() == [2, 4, 6]
    assert sample.color[8].tolist() == [8, 68, 128]
    assert sample.color.dtype == np.float32
    assert sample.segment.tolist() == [0, 2, 1, -1, 1, 0, -1, 0, 2]
    assert sample.intensity is None


def test_only_the_test_split_does_without_labels(root):
    sample = Custom(root).read("test/d", "test")
    assert sample.segment is None and len(sample) == 11
    ply(root / "val" / "e.ply", **{"class": None})
    words = r"val/e\.ply: the labels of val/e \(val\) are missing.* columns red, green, blue; if"
    with pytest.raises(FileNotFoundError, match=words):
        Custom(root).read("val/e", "val")
    (root / "test" / "d.ply").unlink()
    reader = Custom(root)
    reader.scenes("train")
    with pytest.raises(FileNotFoundError, match=r"test/d: no file of this name is in a split of"):
        reader.read("test/d", "test")


def test_the_label_space(root):
    spec = Custom(root).spec
    assert spec.name == "my3" and spec.sensor is None
    assert spec.class_names == ("ground", "low plants", "tree")
    assert spec.palette == ((168, 128, 90), (230, 159, 0), (86, 180, 233))
    assert spec.raw_ids == (2, 3, 5)
    assert spec.raw_to_class == {0: -1, 7: -1, 2: 0, 3: 1, 4: 1, 5: 2}


def test_ids_that_nobody_knows_are_named_with_what_to_do(root):
    np.save(root / "train" / "a.npy", table(30, ids=(2, 9, 9, 17, 5, 2)))
    words = (
        r"train/a\.npy: label ids that .*dataset\.yaml does not know: 9 \(10 points\), "
        r"17 \(5 points\)\. Add them to a class there, or to `ignore`"
    )
    with pytest.raises(ValueError, match=words):
        Custom(root).read("train/a", "train")
    text = (root / "dataset.yaml").read_text()
    describe(root, text.replace("ignore: [0, 7]", "ignore: others"))
    reader = Custom(root)
    assert reader.read("train/a", "train").segment[:6].tolist() == [0, -1, -1, -1, 2, 0]
    assert set(reader.spec.raw_to_class) == {2, 3, 4, 5}
    describe(root, text.replace("ignore: [0, 7]", "ignore: []"))
    with pytest.raises(ValueError, match=r"know: 0 \(5 points\), 7 \(6 points\)"):
        Custom(root).read("train/deep/b.2024", "train")


def test_columns_may_be_named_or_left_out(root):
    text = YAML + "columns: {label: [class], color: null, intensity: red}\n" + NAMES
    describe(root, text)
    sample = Custom(root).read("train/c", "train")
    assert sample.color is None and sample.intensity[3] == 3
    assert sample.segment[1] == 2
    with pytest.raises(
        ValueError, match=r"a\.npy: intensity is to be made of red.* intensity, lab"
    ):
        Custom(root).read("train/a", "train")
    describe(root, text.replace("intensity: red", "normal: [red, green, nz]"))
    with pytest.raises(
        ValueError, match=r"c\.PLY: normal is .* no column nz\. Its columns are red"
    ):
        Custom(root).read("train/c", "train")


def test_labels_that_are_no_integers(root):
    points = table(30)
    points[4, 4] = 2.5
    np.save(root / "train" / "a.npy", points)
    words = r"train/a\.npy: 1 of 30 values of the column label are no integers \(first: 2\.5\)"
    with pytest.raises(ValueError, match=words):
        Custom(root).read("train/a", "train")


def test_files_without_points(root):
    np.save(root / "train" / "a.npy", table(0))
    with pytest.raises(ValueError, match=r"train/a\.npy"):
        Custom(root).read("train/a", "train")
    (root / "train" / "c.PLY").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train/c\.PLY"):
        Custom(root).read("train/c", "train")


def test_splits_by_patterns(root):
    (root / "train" / "odd [1].npy").write_bytes((root / "train/a.npy").read_bytes())
    splits = """\
splits:
  val: ["train/odd [1].npy", "train/odd [1].npy"]
  train: [val/a.npy, "train/**/*.npy", "train/c.*"]
"""
    describe(root, YAML + NAMES + splits.replace("train/**/*", "train/**/b*"))
    reader = Custom(root)
    assert reader.scenes("val") == ["train/odd [1]"]
    assert reader.scenes("train") == ["val/a", "train/deep/b.2024", "train/c"]
    assert len(reader.read("train/odd [1]", "val")) == 30
    with pytest.raises(FileNotFoundError, match=r"no splits\.test, so there is no test split"):
        reader.scenes("test")
    describe(root, YAML + splits)
    words = r"train/odd \[1\]\.npy is in the splits val and train \(1 files"
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=words):
            Custom(root).scenes(split)


def test_validation_and_test_may_be_the_same_files_but_not_share_some(root):
    text = "splits: {{train: [train/c.PLY], val: [train/a.npy, val/a.npy], test: {}}}\n"
    describe(root, YAML + NAMES + text.format('["*/a.npy"]'))
    reader = Custom(root)
    assert reader.scenes("val") == reader.scenes("test") == ["train/a", "val/a"]
    describe(root, YAML + NAMES + text.format("[val/a.npy]"))
    with pytest.raises(ValueError, match=r"val/a\.npy is in the splits val and test \(1 files"):
        Custom(root).scenes("train")


@pytest.mark.parametrize("pattern", ["b.npy", "nothing/*.npy", "train", "train/notes.md", "*.npy"])
def test_patterns_that_name_no_file(root, pattern):
    describe(root, YAML + f'splits: {{train: [train/a.npy], val: ["{pattern}"]}}\n')
    assert Custom(root).scenes("train") == ["train/a"]
    with pytest.raises(FileNotFoundError) as error:
        Custom(root).scenes("val")
    text = str(error.value)
    assert f"{root}/dataset.yaml: splits.val: {pattern!r} names no file of points" in text
    assert "which holds dataset.yaml, test, train, val" in text


def test_two_files_of_one_name(root):
    ply(root / "train" / "a.ply")
    with pytest.raises(
        ValueError, match=r"train/a\.(npy|ply): has the name of .*train/a\.(npy|ply)"
    ):
        Custom(root).scenes("val")


def test_no_description_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        Custom(tmp_path)
    assert f"{tmp_path}/dataset.yaml: there is no description" in str(error.value)
    assert "ground: {ids: [2]" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no description 'asl' comes with pc3d; it has als"):
        Custom(tmp_path, "asl")
    reader = Custom(tmp_path / "nowhere", "als")
    assert reader.spec.num_classes == 5
    with pytest.raises(FileNotFoundError, match=r"custom data was not found at .*no folder"):
        reader.scenes("train")
    with pytest.raises(FileNotFoundError, match=r"custom_data\.md says how"):
        reader.read("a", "train")


def test_a_description_from_elsewhere(root, tmp_path, monkeypatch):
    path = describe(tmp_path / "other", YAML.replace("my3", "other3") + NAMES)
    assert Custom(root, path).spec.name == "other3"
    monkeypatch.chdir(tmp_path)
    assert Custom(root, "other/dataset.yaml").spec.name == "other3"
    monkeypatch.chdir(tmp_path / "other")
    assert Custom(root, "dataset.yaml").spec.name == "my3"
    assert Custom(root, path).scenes("train") == Custom(root).scenes("train")
    assert path in Custom(root, path).source_files("train/a")
    assert Custom(root).source_files("train/a") == [root / "train/a.npy", root / "dataset.yaml"]


def test_predictions_are_written_as_first_ids_and_checked(root):
    reader = Custom(root)
    for scene, num in (("train/a", 30), ("train/c", 9), ("train/deep/b.2024", 40)):
        reader.write_prediction(root / "out", scene, np.resize([1, 0, 2], num))
    assert (root / "out/train/deep/b.2024.txt").read_text().splitlines()[:4] == list("3253")
    assert reader.validate(root / "out", "train") == 3
    assert reader.pack(root / "out", "train") is None
    (root / "out/train/a.txt").write_text("3\n" * 29 + "4\n")
    with pytest.raises(ValueError, match=r"a\.txt: ids \[4\] are not legal"):
        reader.validate(root / "out", "train")


def test_classes_are_counted_and_readers_can_be_sent_to_workers(root, tmp_path):
    reader = pickle.loads(pickle.dumps(Custom(root)))
    counts = np.zeros(3, int)
    for num in (30, 9, 40):
        ids = np.resize(IDS, num)
        counts += [(ids == 2).sum(), np.isin(ids, (3, 4)).sum(), (ids == 5).sum()]
    assert class_counts(reader, "train", 0.5, tmp_path / "cache") == counts.tolist()


def _build(root: Path):
    text = YAML.replace("[0, 7]", "others") + "columns: {label: class}\n"
    more = "names: [x, y, z, intensity, class]\nsplits: {train: [a.npy, b.ply]}\n"
    path = describe(root, text + more)
    np.save(root / "a.npy", (table(30) - [*FAR, 0, 0]).astype(np.int32))
    return lambda: Custom(root), [path, root / "a.npy", ply(root / "b.ply", 30)]


def test_damaged_files_are_refused_by_name_or_read(tmp_path, monkeypatch):
    monkeypatch.setitem(fuzzing.CASES, "own files", Case(_build, read_all))
    outcomes = fuzz("own files", tmp_path, num_per_file=30, seed=0)
    assert outcomes.num_refused > 20 and outcomes.num_read > 2


def test_the_description_of_the_airborne_sample(shared_data):
    pytest.importorskip("laspy")
    reader = Custom(shared_data / "ign_als", "als")
    assert len(reader.scenes("train")) == 6
    (scene,) = reader.scenes("val")
    assert reader.scenes("test") == [scene] == ["test_data_77055_627760_LA93_IGN69"]
    sample = reader.read(scene, "val")
    counts = np.bincount(sample.segment + 1, minlength=6)
    assert counts.tolist() == [581, 22343, 2497, 2449, 17875, 14908]
    assert sample.origin.tolist() == [770550.0, 6277550.0, 20.0]
    assert sample.color is None and sample.intensity is None
    assert set(np.unique(sample.returns).tolist()) == {1, 2, 3, 4, 5}
    assert (sample.returns[:, 0] <= sample.returns[:, 1]).all()
