"""Preparing point files of one's own: the same scenes come out, cut into tiles or not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep import custom, verify
from data_prep.tiles import GroupedRows, TiledFiles, TilePlan
from pc3d.data.datasets import Custom
from pc3d.data.datasets.custom import Listing
from pc3d.data.datasets.description_yaml import read_description
from pc3d.io.cloud import is_cloud, open_cloud

FAR = np.array([650_010.0, 6_860_010.0, 30.0])
YAML = """\
name: my3
classes:
  ground: {ids: [2]}
  tree: {ids: [3, 4]}
ignore: [0]
names: [x, y, z, red, green, blue, intensity, label]
intensity: {divide_by: 500}
"""
FIELDS = ("xyz", "color", "intensity", "segment", "origin")


def points(num: int, size=(60, 35, 5), ids=(2, 3, 0, 4, 3), seed: int = 0) -> np.ndarray:
    """[num, 8], colours of 16 bits of which only the first point says so."""
    rng = np.random.default_rng(seed)
    table = np.column_stack(
        [
            rng.random((num, 3)) * size + FAR,
            rng.integers(0, 250, (num, 3)),
            rng.integers(0, 500, num),
            np.resize(ids, num),
        ]
    )
    table[0, 3] = 60_000
    return table


@pytest.fixture
def raw(tmp_path) -> Path:
    """Two files of training, one of validation; the second has few points, most in one corner."""
    raw = tmp_path / "raw"
    (raw / "train" / "deep").mkdir(parents=True)
    (raw / "val").mkdir()
    np.save(raw / "train" / "a.npy", points(4000))
    few = points(160, size=(10, 10, 5), seed=1)
    few[:7, 0] += 20  # the next tile
    few[7:10, 1] += 200  # far from all others
    np.save(raw / "train" / "deep" / "b.npy", few)
    np.save(raw / "val" / "c.npy", points(900, seed=2))
    (raw / "dataset.yaml").write_text(YAML)
    return raw


def run(raw: Path, out: Path, *options: str) -> int:
    return custom.run_program([f"raw={raw}", f"out={out}", "num_workers=0", *options])


def ordered(sample):
    """Fields of all points in an order that does not depend on the file's; world coordinates."""
    xyz = sample.xyz + sample.origin
    order = np.lexsort(np.round(xyz, 3).T)
    fields = {name: getattr(sample, name)[order] for name in FIELDS[1:4]}
    return {"xyz": xyz[order], **fields}


def test_files_come_out_as_they_are_read(raw, tmp_path):
    out = tmp_path / "out"
    assert run(raw, out) == 0
    reader, prepared = Custom(raw), Custom(out)
    for split in ("train", "val"):
        assert prepared.scenes(split) == reader.scenes(split)
        for scene in reader.scenes(split):
            one, other = reader.read(scene, split), prepared.read(scene, split)
            for field in (*FIELDS, "row"):
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
            assert prepared.layout.num_points(scene) == reader.layout.num_points(scene)
    assert (out / "dataset.yaml").read_text() == YAML
    assert (out / "train" / "deep" / "b.npy" / "coord.npy").is_file()
    remarks = (out / "remarks.log").read_text().splitlines()
    assert remarks[0].endswith("a.npy: colours beyond 255 are taken for 16 bits and divided by 257")
    assert len(remarks) == 3


def test_tiles_hold_every_point_once_where_it_belongs(raw, tmp_path):
    out = tmp_path / "out"
    assert run(raw, out, "tile=25") == 0
    reader, prepared = Custom(raw), Custom(out)
    tiles = [scene for scene in prepared.scenes("train") if scene.startswith("train/a/")]
    assert len(tiles) == 6
    whole = reader.read("train/a", "train")
    parts = []
    for scene in tiles:
        tile = prepared.read(scene, "train")
        assert tile.name == scene
        corner = [float(word) for word in scene.rpartition("/")[2].split("_")]
        inside = (tile.xyz + tile.origin)[:, :2] - corner
        assert (inside > -1e-4).all() and (inside < 25 + 1e-4).all()
        assert prepared.layout.num_points(scene) == len(tile)
        world = whole.xyz + whole.origin
        own = ((world[:, :2] >= corner) & (world[:, :2] < np.add(corner, 25))).all(axis=1)
        np.testing.assert_array_equal(tile.segment, whole.segment[own])  # in the file's order
        np.testing.assert_array_equal(tile.color, whole.color[own])
        parts.append(tile)
    together = {
        field: np.concatenate([ordered(part)[field] for part in parts]) for field in FIELDS[:4]
    }
    order = np.lexsort(np.round(together["xyz"], 3).T)
    for field, expected in ordered(whole).items():
        np.testing.assert_allclose(together[field][order], expected, atol=1e-5)


def test_small_tiles_are_joined_or_left_out_and_said(raw, tmp_path):
    out = tmp_path / "out"
    assert run(raw, out, "tile=25") == 0
    prepared = Custom(out)
    (scene,) = [s for s in prepared.scenes("train") if s.startswith("train/deep/b/")]
    assert scene == "train/deep/b/650000_6860000"
    assert len(prepared.read(scene, "train")) == 157
    remarks = (out / "remarks.log").read_text()
    assert "1 of 3 tiles, with fewer than 100 points (7 together), are joined" in remarks
    assert "1 of 3 tiles, with fewer than 100 points (3 together), are left out" in remarks
    assert run(raw, tmp_path / "two", "tile=25", "min_points=1") == 0
    scenes = Custom(tmp_path / "two").scenes("train")
    assert sum(s.startswith("train/deep/b/") for s in scenes) == 3
    assert run(raw, tmp_path / "three", "tile=2.5", "min_points=5000") == 0
    found = Custom(tmp_path / "three")
    assert [len(found.read(s, "train")) for s in found.scenes("train")] == [4000, 160]


def test_a_plan_of_tiles():
    counts = {(i << 32) + j + 2**31: n for (i, j), n in {
        (0, 0): 10, (0, 1): 3, (0, 2): 12, (-1, -1): 1, (5, 5): 2, (5, 6): 2, (-7, 4): 10
    }.items()}  # fmt: skip
    plan = TilePlan.of(counts, 10)
    keys = list(counts)
    assert plan.keys == sorted([keys[0], keys[2], keys[6]])
    # (0, 1) touches two and goes to the larger; (5, 5) and (5, 6) touch each other only.
    assert plan.sizes.tolist() == [10, 11, 15]
    found = plan.slots(np.array(keys)[[0, 1, 2, 3, 4, 5, 6, 1]])
    assert found.tolist() == [1, 2, 2, 1, -1, -1, 0, 2]
    assert TilePlan.of(counts, 100).sizes.tolist() == [40]


def test_rows_grouped_on_disk(tmp_path):
    sizes = np.array([3, 0, 2])
    groups = GroupedRows(tmp_path, sizes)
    wide, flat = np.arange(14).reshape(7, 2) * 1.5, np.arange(7, dtype=np.uint8)
    slots = np.array([2, 0, -1, 0, 2, 0, -1])
    for rows in (slice(0, 2), slice(2, 4), slice(4, 7)):
        groups.add(slots[rows], {"wide": wide[rows], "flat": flat[rows]})
    assert groups.read(0)["flat"].tolist() == [1, 3, 5]
    assert groups.read(2)["wide"].tolist() == [[0.0, 1.5], [12.0, 13.5]]
    assert groups.read(1)["wide"].shape == (0, 2)
    assert groups.read(0)["flat"].dtype == np.uint8


def test_a_file_is_cut_in_bounded_memory(raw, tmp_path, monkeypatch):
    """Points come in parts of any size, and the tiles are the same."""
    description = read_description(raw / "dataset.yaml")
    layout = TiledFiles(Listing(raw, description, is_cloud), tile=25.0, min_points=1)
    (tmp_path / "scratch").mkdir()
    expected = dict(layout.parts("train/a", tmp_path / "scratch"))
    kind = type(open_cloud(raw / "train" / "a.npy", description.names))
    chunks, largest = kind.chunks, []

    def small(self, names=(), size=0):
        for chunk in chunks(self, names, 37):
            largest.append(len(chunk.xyz))
            yield chunk

    monkeypatch.setattr(kind, "chunks", small)
    found = dict(layout.parts("train/a", tmp_path / "scratch"))
    assert max(largest) == 37
    assert list(found) == list(expected)
    for name, arrays in expected.items():
        for field, array in arrays.items():
            np.testing.assert_array_equal(found[name][field], array)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_manifest_of_tiles_and_a_second_run(raw, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert run(raw, out, "tile=25") == 0
    record = json.loads((out / "manifest.json").read_bytes())["scenes"]["train/a.npy"]
    assert record["num_points"] == 4000 and len(record["parts"]) == 6
    assert record["labels"] == {"segment": {"-1": 800, "0": 800, "1": 2400}}
    tile = record["arrays"]["650000_6860000/segment"]
    assert tile["dtype"] == "int16" and tile["shape"] == [
        len(np.load(out / "train/a.npy/650000_6860000/coord.npy"))
    ]
    assert record["settings"]["tile"] == 25 and record["settings"]["min_points"] == 100
    capsys.readouterr()
    for text, options in (
        ("0 scenes prepared, 3 were there", ["tile=25"]),
        ("3 scenes prepared, 0 were there", ["tile=30"]),
        ("3 scenes prepared, 0 were there", []),
        ("0 scenes prepared, 3 were there", ["min_points=7"]),
    ):
        assert run(raw, out, *options) == 0
        assert text in capsys.readouterr().err
    os.utime(raw / "val" / "c.npy", ns=(1, 1))
    assert run(raw, out) == 0
    assert "1 scenes prepared, 2 were there" in capsys.readouterr().err
    assert not list(out.glob("train/a.npy/*/"))


def test_another_description_is_refused_until_it_is_prepared_again(raw, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(raw, out) == 0
    (out / "dataset.yaml").write_text(YAML.replace("ignore: [0]", "ignore: [0, 9]"))
    words = r"was prepared with ignore \[0\], and .*out/dataset\.yaml says \[0, 9\]\. Prepare again"
    with pytest.raises(ValueError, match=words):
        Custom(out).scenes("train")
    splits = "splits: {train: [val/c.npy], val: ['train/*.npy', train/deep/b.npy]}\n"
    (out / "dataset.yaml").write_text(YAML.replace("my3", "x") + splits)
    reader = Custom(out)  # names and splits may change
    assert reader.scenes("train") == ["val/c"] and reader.spec.name == "x"
    assert reader.scenes("val") == ["train/a", "train/deep/b"]
    (out / "prepared.json").write_text(
        (out / "prepared.json").read_text().replace('"pending": []', '"pending": ["val/c.npy"]')
    )
    with pytest.raises(ValueError, match="did not end"):
        reader.scenes("train")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda table: table[:0], "no points"),
        (lambda table: np.where(table == 3, np.nan, table), "no integers (first: nan)"),
        (lambda table: np.where(table == 3, 9, table), "does not know: 9 (1,600 points)"),
        (lambda table: np.concatenate([table, [[np.nan] * 3 + [2] * 5]]), "NaN"),
        (lambda table: np.concatenate([table, [[1e30] * 3 + [2] * 5]]), "1e+30"),
        (lambda table: table - [0, 0, 0, 300, 0, 0, 0, 0], "colours lie in -300"),
    ],
)
@pytest.mark.parametrize("tile", ["", "25"])
@pytest.mark.filterwarnings("error")
def test_damaged_files_are_named_and_the_others_go_on(raw, tmp_path, capsys, damage, words, tile):
    np.save(raw / "train" / "a.npy", damage(points(4000).round()))
    assert run(raw, tmp_path / "out", f"tile={tile}") == 1
    shown = capsys.readouterr().err
    assert "train/a failed" in shown and f"{raw}/train/a.npy" in shown
    assert words in shown, shown
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.npy") if p.is_dir()) == [
        "b.npy",
        "c.npy",
    ]
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["tile=0"], "tile must be a number of metres above 0; got '0'"),
        (["tile=big"], "got 'big'"),
        (["tile=nan"], "got 'nan'"),
        (["min_points=-1"], "min_points must be a number"),
        (["dry_run=yes"], "dry_run must be true or false"),
        (["description=nothing"], "no description 'nothing' comes with pc3d"),
        (["titel=25"], "unknown argument 'titel=25'"),
        (["out="], "out=... must be given"),
    ],
)
def test_command_lines_that_are_refused(raw, tmp_path, capsys, options, words):
    assert run(raw, tmp_path / "out", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_verify_recognizes_both_forms(raw, tmp_path, capsys):
    out = tmp_path / "out"
    for path in raw.rglob("*.npy"):
        table = np.load(path)
        table[:, 3:6] = np.minimum(200 * table[:, 3:6], 65535)  # every tile bright enough
        np.save(path, table)
    assert run(raw, out, "tile=25") == 0
    for root, layout in ((raw, "PointFiles"), (out, "PreparedFiles")):
        assert type(verify.recognize(root)) is Custom
        assert verify.run_program([str(root), "num_workers=0"]) == 0, capsys.readouterr()
        text = capsys.readouterr().out
        assert f"custom data at {root}: {layout}" in text and "ground" in text
    path = out / "train/a.npy/650000_6860025/intensity.npy"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    (out / "val/c.npy/650000_6860000").rename(out / "val/c.npy/650000_6860001")
    assert verify.run_program([str(out), "scenes=all", "num_workers=0"]) == 1
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert f"{path}: missing, or not what manifest.json says" in text
    assert "scene val/c/650000_6860001 is not in manifest.json" in text
    (out / "dataset.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="there is no description"):
        verify.recognize(out)


def test_large_sites_are_no_rooms_in_millimetres(raw, capsys):
    np.save(raw / "train" / "a.npy", points(4000, size=(900, 700, 30)))
    assert verify.run_program([str(raw), "num_workers=0"]) == 0
    np.save(raw / "train" / "a.npy", points(4000, size=(90_000, 70_000, 30)))
    assert verify.run_program([str(raw), "num_workers=0"]) == 1
    assert "Are its coordinates millimetres?" in capsys.readouterr().err


def test_the_airborne_sample_in_tiles(shared_data, tmp_path):
    pytest.importorskip("laspy")
    raw, out = shared_data / "ign_als", tmp_path / "out"
    yaml = (Path(custom.__file__).parents[1] / "pc3d/data/descriptions/als.yaml").read_text()
    small = yaml.replace('[bat.laz, "crop_*.laz", "test_data_77050_*.laz", ', "[")
    (tmp_path / "small.yaml").write_text(small)
    assert run(raw, out, f"description={tmp_path}/small.yaml", "tile=25") == 0
    reader = Custom(out)
    (tile, *others) = reader.scenes("val")
    assert len(others) == 3 and tile.endswith("IGN69/770550_6277550")
    assert sum(len(reader.read(scene, "val")) for scene in reader.scenes("val")) == 60_653
    sample = reader.read(tile, "test")
    assert sample.origin.tolist()[:2] == [770550, 6277550]
    assert np.abs(sample.xyz[:, :2]).max() <= 25
    assert sample.returns.max() == 4 and sample.color is None


def test_files_that_left_the_splits_are_not_kept(raw, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(raw, out) == 0
    (raw / "train" / "deep" / "b.npy").rename(raw / "val" / "b.npy")
    assert run(raw, out) == 2
    assert "train/deep/b.npy: its file is in no split any more (1 such" in capsys.readouterr().err
    assert not (out / "val" / "b.npy").exists()
    shutil.rmtree(out / "train" / "deep")
    assert run(raw, out) == 0
    assert Custom(out).scenes("val") == ["val/b", "val/c"]
