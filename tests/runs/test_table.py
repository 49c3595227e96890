"""Tables from files and into files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from statistics import stdev

import pytest

from pc3d.runs.files import read_table
from pc3d.runs.table import Column, Table, grouped, to_csv, to_markdown, to_records
from pc3d.runs.table_of_runs import duration, mebibytes

CSV = "net,seed,miou,seconds\nbig,0,0.75,10\nbig,1,0.25,30\nsmall,0,,5\n"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    (tmp_path / "t.csv").write_text(CSV)
    return read_table(tmp_path / "t.csv")


def test_csv_and_jsonl_are_the_same_table(table, tmp_path):
    rows = list(csv.DictReader(io.StringIO(CSV)))
    lines = [json.dumps({k: _value(v) for k, v in row.items()}) for row in rows]
    (tmp_path / "t.jsonl").write_text("\n".join([*lines, ""]))
    assert read_table(tmp_path / "t.jsonl") == table
    assert table.column("miou").values == (0.75, 0.25, None) and table.column("miou").is_number
    assert table.column("seed").values == (0, 1, 0) and not table.column("net").is_number


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text or None


def test_objects_in_objects_flags_and_missing_values(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"iou": {"wall": 0.5}, "ok": true, "x": NaN}\n{"iou": {"floor": 1}}\n')
    table = read_table(path)
    assert [c.name for c in table.columns] == ["iou.wall", "ok", "x", "iou.floor"]
    assert table.column("iou.wall").values == (0.5, None)
    assert table.column("ok").values == ("true", None) and table.column("x").values == (None, None)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("t.csv", "a,b\n1,2\n1\n", "t.csv:3: other cells"),
        ("t.csv", "a,b\n1,2,3\n", "t.csv:2: other cells"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.csv", b"a\n\xff\n", "t.csv is damaged"),
        ("t.jsonl", '{"a": 1}\n{half\n', "t.jsonl:2 is damaged"),
        ("t.jsonl", "[1]\n", "t.jsonl:1: expected an object"),
        ("t.txt", "a", "must end in .csv or .jsonl"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=expected):
        read_table(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_table(tmp_path / "none.csv")


def test_sorting(table):
    assert table.sorted_by("seconds")[1] == [2, 0, 1]
    assert table.sorted_by("-seconds")[1] == [1, 0, 2]
    down, order = table.sorted_by("-miou")
    assert order == [0, 1, 2] and down.column("net").cells == ("big", "big", "small")
    assert table.sorted_by("miou")[1] == [1, 0, 2]  # what is empty comes last either way
    assert table.sorted_by("-net")[1] == [2, 0, 1]
    numbers = Table((Column("n", "n", (10, 9, 100), ("10", "9", "100")),))
    assert numbers.sorted_by("n")[1] == [1, 0, 2]
    with pytest.raises(ValueError, match=r"no column 'mean'; there is net, seed, miou, seconds"):
        table.sorted_by("mean")
    with pytest.raises(ValueError, match="no column of numbers 'net'; there is seed, miou"):
        table.column("net", numbers=True)


def test_grouping_a_table(table):
    found = grouped(table, ["net"])
    assert found.column("net").values == ("big", "small") and found.column("n").values == (2, 1)
    assert found.column("miou").values == (0.5, None)
    assert found.column("miou std").values == (pytest.approx(stdev([0.75, 0.25])), None)
    assert found.column("miou").cells == ("0.5 ± 0.35355", "")
    assert found.column("seconds").cells == ("20 ± 14.142", "5")
    assert found.column("seed").cells == ("0, 1", "0")
    with pytest.raises(ValueError, match="no column 'network'"):
        grouped(table, ["network"])


def test_into_files(table):
    assert list(csv.reader(io.StringIO(to_csv(table))))[3] == ["small", "0", "", "5"]
    assert to_records(table)[2] == {"net": "small", "seed": 0, "miou": None, "seconds": 5}
    odd = Table((Column("a|b", "a|b", ("x|y\n",), ("x|y\n",)),), ("a note",))
    assert to_markdown(odd) == "| a\\|b |\n| --- |\n| x\\|y  |\n\n* a note\n"
    assert to_markdown(table).splitlines()[1] == "| --- | ---: | ---: | ---: |"


def test_units():
    assert [duration(s) for s in (9.46, 119.0, 120, 7200)] == [
        "9.5 s",
        "119.0 s",
        "2.0 min",
        "2.0 h",
    ]
    assert [mebibytes(m) for m in (511.6, 1024)] == ["512 MiB", "1.0 GiB"]
