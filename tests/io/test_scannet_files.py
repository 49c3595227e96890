"""Label table, over-segmentation, aggregation and facts of ScanNet, in every released form."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20, SCANNET200
from pc3d.io.scannet import (
    RawLabel,
    read_aggregation,
    read_axis_alignment,
    read_label_table,
    read_segments,
)
from tests.data.fixtures import TSV_COLUMNS, TSV_ROWS, tsv


def table_of(tmp_path, content):
    (tmp_path / "labels.tsv").write_bytes(content)
    return read_label_table(tmp_path / "labels.tsv")


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path, line_end, mark):
    table = table_of(tmp_path, mark + tsv(line_end=line_end))
    assert table["office chair"] == RawLabel(id=10, nyu40=5)
    assert table["sofa bed"] == RawLabel(id=1357, nyu40=0)
    assert len(table) == len(TSV_ROWS)


@pytest.mark.parametrize(
    "columns",
    [
        ("raw_category", "category", "count", "nyu40id", "id"),
        TSV_COLUMNS[::-1],
        ("nyuId", "id", "nyu40id", "raw_category", "more"),
    ],
)
def test_columns_are_found_by_name(tmp_path, columns):
    assert table_of(tmp_path, tsv(columns=columns))["book"] == RawLabel(id=22, nyu40=23)


@pytest.mark.parametrize("missing", ["id", "raw_category", "nyu40id"])
def test_a_missing_column(tmp_path, missing):
    columns = [name for name in TSV_COLUMNS if name != missing]
    with pytest.raises(ValueError, match=rf"labels\.tsv: the columns \['{missing}'\] are missing"):
        table_of(tmp_path, tsv(columns=columns))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "columns .* are missing"),
        (tsv(rows=[]), "there are no rows"),
        (tsv().replace(b"\t", b","), "columns .* are missing"),
        (tsv().replace(b"\t10\t", b"\tten\t").replace(b"10\toff", b"ten\toff"), "id; got 'ten'"),
        (tsv().replace(b"10\toff", b"-10\toff"), "expected an id; got '-10'"),
        (tsv().replace(b"10\toff", b"9" * 5000 + b"\toff"), "expected an id; got '9999"),
        (tsv().replace(b"office chair", b"x" * 200_000), "damaged or truncated"),
        (tsv()[: tsv().index(b"office") + 4], "labels.tsv:4: the line is cut off"),
        (
            tsv([*TSV_ROWS, {"id": 3, "raw_category": "wall", "nyu40id": 2}]),
            "labels.tsv:10: 'wall'",
        ),
        (tsv().decode().encode("utf-16"), "columns .* are missing"),
    ],
)
def test_damaged_tables(tmp_path, content, words):
    with pytest.raises(ValueError, match=words) as error:
        table_of(tmp_path, content)
    assert "labels.tsv" in str(error.value)
    assert len(str(error.value)) < 1000


def test_categories_without_their_blanks_and_with_quotes(tmp_path):
    rows = [
        {"id": 7, "raw_category": " cabinet ", "nyu40id": 3},
        {"id": 8, "raw_category": '"shelf', "nyu40id": 15},
        {"id": 9, "raw_category": "desk", "nyu40id": 14},
    ]
    table = table_of(tmp_path, tsv(rows))
    assert table["cabinet"] == RawLabel(7, 3)
    assert table['"shelf'] == RawLabel(8, 15)
    assert table["desk"] == RawLabel(9, 14)


def test_the_real_table_knows_every_class(shared_data):
    table = read_label_table(shared_data / "scannet" / "scannetv2-labels.combined.tsv")
    assert len(table) == 607
    assert {label.id for label in table.values()} >= set(SCANNET200.raw_ids)
    assert {label.nyu40 for label in table.values()} >= set(SCANNET20.raw_ids)
    for name, raw in zip(SCANNET200.class_names, SCANNET200.raw_ids, strict=True):
        assert table[name].id == raw
    for missing in ("trashcan", "dishrack"):  # that stand in aggregations
        assert missing not in table


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_segments_keep_their_ids(tmp_path):
    path = write(tmp_path / "a.segs.json", {"segIndices": [7, 7, 90210, 3], "params": {}})
    found = read_segments(path, 4)
    assert found.dtype == np.int64
    assert found.tolist() == [7, 7, 90210, 3]
    with pytest.raises(ValueError, match=r"a\.segs\.json: 4 segment ids.*5 vertices"):
        read_segments(path, 5)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2, 3],
        {"segIndices": 3},
        {"segIndices": None},
        {"other": [1, 2, 3]},
        {"segIndices": [1, 2, 3.5]},
        {"segIndices": ["1", "2", "3"]},
        {"segIndices": [[1], [2], [3]]},
        {"segIndices": [[1], 2, 3]},
        {"segIndices": [1, None, 3]},
        {"segIndices": [1, 2, 10**30]},
        {"segIndices": [1, 2, {}]},
        '{"segIndices": [1, 2, 3',
        '{"segIndices": [1, 2, NaN]}',
        "[" * 100_000,
    ],
)
def test_damaged_segments(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.segs\.json: "):
        read_segments(write(tmp_path / "a.segs.json", content), 3)


def aggregation(**changes):
    groups = [
        {"objectId": 0, "segments": [5, 90210], "label": "office chair"},
        {"objectId": 7, "segments": [], "label": "wall"},
    ]
    return {"sceneId": "scene0000_00", "segGroups": groups, **changes}


@pytest.mark.parametrize("prefix", ["", "scannet."])
def test_objects_with_and_without_the_prefix_of_the_scene(tmp_path, prefix):
    path = write(tmp_path / "a.json", aggregation(sceneId=f"{prefix}scene0000_00"))
    first, second = read_aggregation(path, "scene0000_00")
    assert (first.label, first.segments.tolist()) == ("office chair", [5, 90210])
    assert (second.label, second.segments.tolist()) == ("wall", [])
    with pytest.raises(
        ValueError, match=r"a\.json: sceneId is 'scene0000_00'; expected 'scene0001"
    ):
        read_aggregation(path, "scene0001_00")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"segGroups": []},
        aggregation(sceneId=3),
        aggregation(segGroups={}),
        aggregation(segGroups=[3]),
        aggregation(segGroups=[{"label": "wall"}]),
        aggregation(segGroups=[{"label": None, "segments": [1]}]),
        aggregation(segGroups=[{"label": "wall", "segments": 3}]),
        aggregation(segGroups=[{"label": "wall", "segments": ["3"]}]),
        aggregation(segGroups=[{"label": "wall", "segments": [[3], [4, 5]]}]),
        json.dumps(aggregation())[:-3],
        "",
    ],
)
def test_damaged_aggregations(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.json: "):
        read_aggregation(write(tmp_path / "a.json", content), "scene0000_00")


def test_facts_with_and_without_an_alignment(tmp_path):
    matrix = "0.5 -0.1 0 1.5 0.1 0.5 0 -2 0 0 1 -0.25 0 0 0 1 "
    path = write(
        tmp_path / "a.txt",
        f"appVersionId = 72\r\naxisAlignment = {matrix}\r\ncolorHeight = 968\r\n",
    )
    found = read_axis_alignment(path)
    assert found.tolist() == [
        [0.5, -0.1, 0, 1.5],
        [0.1, 0.5, 0, -2],
        [0, 0, 1, -0.25],
        [0, 0, 0, 1],
    ]
    assert read_axis_alignment(write(tmp_path / "a.txt", "colorHeight = 968\n")) is None
    assert read_axis_alignment(write(tmp_path / "a.txt", "")) is None


@pytest.mark.parametrize("value", ["", "1 0 0", "1 " * 17, "x " * 16, "nan " * 16, "inf " * 16])
def test_damaged_alignments(tmp_path, value):
    path = write(tmp_path / "a.txt", f"axisAlignment = {value}\n")
    with pytest.raises(ValueError, match=r"a\.txt: axisAlignment must be 16 numbers"):
        read_axis_alignment(path)
