"""Tables, sweeps and labels of nuScenes-lidarseg."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pc3d.io import nuscenes
from tests.data.fixtures import CATEGORIES, write_json, write_nuscenes

DRIVES = {"scene-0916": 2, "scene-0061": 3}


@pytest.fixture
def tables(tmp_path):
    write_nuscenes(tmp_path, "v1.0-mini", DRIVES, labels=np.full(40, 17))
    return tmp_path / "v1.0-mini"


def change(path, edit):
    rows = json.loads(path.read_text())
    edit(rows)
    write_json(path, rows)


def test_keyframes_of_the_lidar_by_drive_and_time(tables):
    sweeps = nuscenes.read_sweeps(tables)
    assert [sweep.scene for sweep in sweeps] == ["scene-0061"] * 3 + ["scene-0916"] * 2
    assert [sweep.token for sweep in sweeps[:3]] == [
        f"v1.0-mini-1-{frame}-samples-LIDAR_TOP" for frame in range(3)
    ]
    for sweep in sweeps:
        assert sweep.points == f"samples/LIDAR_TOP/n015__LIDAR_TOP__{sweep.token}.pcd.bin"
        assert sweep.labels == f"lidarseg/v1.0-mini/{sweep.token}_lidarseg.bin"
        assert (tables.parent / sweep.points).is_file()


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_how_tables_are_laid_out_does_not_matter(tables, indent):
    expected = nuscenes.read_sweeps(tables)
    for path in tables.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()), indent=indent) + "\n" * 3)
    assert nuscenes.read_sweeps(tables) == expected


def test_labels_may_not_be_there(tables):
    (tables / "lidarseg.json").unlink()
    assert {sweep.labels for sweep in nuscenes.read_sweeps(tables)} == {None}


@pytest.mark.parametrize("table", ["scene", "sample", "sample_data"])
def test_a_missing_table(tables, table):
    (tables / f"{table}.json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{table}\.json"):
        nuscenes.read_sweeps(tables)


@pytest.mark.parametrize(
    ("table", "edit", "words"),
    [
        ("scene", lambda rows: rows[0].pop("token"), "no proper token"),
        ("scene", lambda rows: rows[0].update(name=3), "no proper name"),
        ("scene", lambda rows: rows.pop(), "drive of the keyframe"),
        ("sample", lambda rows: rows[0].update(timestamp="1"), "no proper timestamp"),
        ("sample", lambda rows: rows[0].update(scene_token=[]), "no proper scene_token"),
        ("sample", lambda rows: rows.pop(), "the keyframe .* is not in the tables beside it"),
        ("sample_data", lambda rows: rows[1].pop("token"), "no proper token"),
        ("sample_data", lambda rows: rows[1].update(sample_token=7), "no proper sample_token"),
        ("sample_data", lambda rows: rows[1].update(token="9" * 5000), "no proper token"),
        ("sample_data", lambda rows: rows[1].update(is_key_frame=False), "4 of the 5 samples"),
        ("sample_data", lambda rows: rows[1].update(filename="samples/LIDAR/a"), "4 of the 5"),
        ("sample_data", lambda rows: rows.clear(), "0 of the 5 samples"),
        ("lidarseg", lambda rows: rows[0].pop("filename"), "no proper filename"),
    ],
)
def test_tables_that_do_not_fit(tables, table, edit, words):
    change(tables / f"{table}.json", edit)
    with pytest.raises(ValueError, match=words) as error:
        nuscenes.read_sweeps(tables)
    assert str(tables) in str(error.value)


def test_a_table_that_is_cut_off(tables):
    path = tables / "sample_data.json"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"sample_data\.json: the table is cut off"):
        nuscenes.read_sweeps(tables)


def test_damage_within_a_row(tables):
    path = tables / "sample_data.json"
    path.write_bytes(path.read_bytes().replace(b'"fileformat": "pcd"', b'"fileformat" "pcd"'))
    with pytest.raises(ValueError, match=r"sample_data\.json: damaged"):
        nuscenes.read_sweeps(tables)


def test_categories_by_number(tables):
    names = nuscenes.read_categories(tables)
    assert len(names) == 32
    assert (names[0], names[24], names[31]) == ("noise", "flat.driveable_surface", "vehicle.ego")


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: [row.pop("index") for row in rows],
        lambda rows: rows[5].update(index=256),
        lambda rows: rows[5].update(index=-1),
        lambda rows: rows[5].update(index=6),
        lambda rows: rows[5].update(index="5"),
        lambda rows: rows.clear(),
    ],
)
def test_categories_without_proper_numbers(tables, edit):
    change(tables / "category.json", edit)
    with pytest.raises(ValueError, match=r"category\.json: the categories have no index.*lidarseg"):
        nuscenes.read_categories(tables)


def test_sweep_is_five_little_endian_floats_a_point(tmp_path):
    path = tmp_path / "a.pcd.bin"
    path.write_bytes(bytes.fromhex("0000803f 00000040 000040c0 00007f43 00001041" * 2))
    assert nuscenes.read_scan(path).tolist() == [[1.0, 2.0, -3.0, 255.0, 9.0]] * 2
    assert nuscenes.num_scan_points(path) == 2
    path.write_bytes(b"\0" * 48)
    with pytest.raises(ValueError, match=r"a\.pcd\.bin: 48 bytes are not a whole number of points"):
        nuscenes.read_scan(path)


def test_labels_are_bytes(tmp_path):
    path = tmp_path / "a_lidarseg.bin"
    path.write_bytes(bytes([0, 24, 255]))
    assert nuscenes.read_labels(path, 3).tolist() == [0, 24, 255]
    with pytest.raises(ValueError, match=r"a_lidarseg\.bin: 3 labels.*4 points"):
        nuscenes.read_labels(path, 4)


def test_the_list_of_categories_is_whole():
    assert len(set(CATEGORIES)) == 32
