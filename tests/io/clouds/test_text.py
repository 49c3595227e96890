"""Points in text, as people and programs write it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.io.cloud import open_cloud, read_cloud

XYZ = [[1.5, -2, 3e-7], [4, 5.25, 1e6], [7, 8, 9]]


def check(path, text, columns=(), names=("a",), values=((0.5,), (6,), (-1,))):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    cloud = open_cloud(path, columns)
    assert list(cloud.columns) == list(names) and cloud.num_points == 3
    found = read_cloud(path, names, columns)
    np.testing.assert_array_equal(found.xyz, XYZ)
    expected = np.reshape(values, (3, -1))
    for i, name in enumerate(names):
        np.testing.assert_array_equal(found.columns[name], expected[:, i])
        assert found.columns[name].dtype == np.float64
    return cloud


ROWS = ["1.5 -2 3e-7 0.5", "4 5.25 1e6 6", "7 8 9 -1"]


@pytest.mark.parametrize(
    "head", ["x y z a", "X Y Z a", "# x y z a", "//X Y Z a", "#x y z a", '"x" "y" "z" "a"']
)
@pytest.mark.parametrize("mark", [" ", "\t", "  ", " \t ", ",", ", ", ";", " ; "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_marks_and_line_ends(tmp_path, head, mark, end):
    rows = [row.replace(" ", mark) for row in ROWS]
    start = "# " if head.startswith("# ") else ""
    same = start + head.removeprefix(start).replace(" ", mark.strip() or mark)
    for lines in ([head, *rows], [same, *rows]):
        assert check(tmp_path / "a.csv", end.join(lines) + end).remarks == ()
        check(tmp_path / "a.csv", end.join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffx,y,z,a\n1.5,-2,3e-7,0.5\n4,5.25,1e6,6\n7,8,9,-1\n",
        "x,y,z,a,\n1.5,-2,3e-7,0.5,\n4,5.25,1e6,6,\n7,8,9,-1,\n",
        "\n\n# made by hand\n#\n// x y z a\n\n1.5 -2 3e-7 0.5\n\n  # between\n"
        "4 5.25 1e6 6 # behind\n"
        "\t\n   7 8 9 -1   \n\n\n",
        "#x\ty z   a\n1.5 -2 3e-7 0.5\n4 5.25 1e6 6\n7 8 9 -1\n",
        "x y z a\n3\n1.5 -2 3e-7 0.5\n4 5.25 1e6 6\n7 8 9 -1\n",
        "1.5 -2 3e-7 0.5\n4 5.25 1e6 6\n7 8 9 -1".replace("1.5", "# x y z a\n+1.50"),
    ],
)  # fmt: skip
def test_what_stands_around_rows(tmp_path, text):
    check(tmp_path / "a.txt", text)


def test_names_with_odd_characters(tmp_path):
    lines = ["X,Y,Z,Return Number,Höhe (m)", "1.5,-2,3e-7,1,2", "4,5.25,1e6,3,4", "7,8,9,5,6"]
    names = ["Return Number", "Höhe (m)"]
    check(tmp_path / "a.csv", "\n".join(lines), names=names, values=[[1, 2], [3, 4], [5, 6]])
    lines[0] = "X\tY\tZ\tReturn Number\tHöhe (m)"
    lines[1:] = [line.replace(",", "\t") for line in lines[1:]]
    check(tmp_path / "a.txt", "\n".join(lines), names=names, values=[[1, 2], [3, 4], [5, 6]])


def test_rows_without_names(tmp_path):
    text = "\n".join(ROWS)
    cloud = check(tmp_path / "a.xyz", text, names=["intensity"])
    assert cloud.remarks == ("4 columns without names are taken for x, y, z, intensity",)
    cloud = check(tmp_path / "a.xyz", text, columns=("x", "y", "z", "a"))
    assert cloud.remarks == ()
    cloud = check(tmp_path / "a.xyz", text, columns=("x", "y", "z", "_"), names=(), values=())
    cloud = check(tmp_path / "a.xyz", "# by me, 2024\n" + text, names=["intensity"])
    assert len(cloud.remarks) == 1
    text = "\n".join(row.rsplit(" ", 1)[0] for row in ROWS)
    assert check(tmp_path / "a.xyz", text, names=(), values=()).remarks[0].startswith("3 columns")
    text = "\n".join(f"{row} 7 8" for row in ROWS)
    values = [[0.5, 7, 8], [6, 7, 8], [-1, 7, 8]]
    cloud = check(tmp_path / "a.xyz", text, names=("red", "green", "blue"), values=values)
    assert cloud.remarks[0] == "6 columns without names are taken for x, y, z, red, green, blue"


def test_names_in_place_of_those_in_the_file(tmp_path):
    lines = ["easting north elev a kind", *(f"{row} tree" for row in ROWS)]
    check(tmp_path / "a.txt", "\n".join(lines), columns=("x", "y", "z", "b", "_"), names=["b"])
    check(tmp_path / "a.txt", "\n".join(lines[1:]), columns=("x", "y", "z", "b", "_"), names=["b"])
    lines = [line.replace(" ", ";") for line in lines]
    check(tmp_path / "a.csv", "\n".join(lines), columns=("x", "y", "z", "b", "_"), names=["b"])


@pytest.mark.parametrize("num_columns", [5, 7, 8])
def test_columns_that_may_mean_anything_are_asked_for(tmp_path, num_columns):
    row = " ".join(str(i) for i in range(num_columns))
    (tmp_path / "a.txt").write_text(f"{row}\n{row}\n")
    words = rf"a\.txt: {num_columns} columns without names; the first row is {row}\. Say what they"
    with pytest.raises(ValueError, match=words):
        open_cloud(tmp_path / "a.txt")


def test_pts(tmp_path):
    check(tmp_path / "a.pts", "\n".join(["3", *ROWS]), names=["intensity"])
    check(tmp_path / "a.pts", "\n".join(ROWS), names=["intensity"])
    for count in ("2", "4", "0", "999999999999999999999"):
        (tmp_path / "a.pts").write_text("\n".join([count, *ROWS]))
        with pytest.raises(
            ValueError, match=rf"a\.pts: the file says {count} points, but has 3 rows"
        ):
            open_cloud(tmp_path / "a.pts")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"x y z\n1 2 3\n4 \x00 6\n", "row 2 of the points is no row of numbers.*x00"),
        ("x y z\n1 2 3\n".encode("utf-16"), "no text of short lines"),
        (b"1 2 3 " * 20000, "no text of short lines"),
        (b"x y z\nred green blue\n1 2 3\n", "expected numbers in line 2, .* got 'red green blue'"),
        (b"x y z\n", "no row of numbers"),
        (b"# x y z\n\n", "no row of numbers"),
        (b"x y z\n1 2 3 4\n", r"3 names \(x, y, z\), but 4 columns in the first row: '1 2 3 4'"),
        (b"x y z a a\n1 2 3 4 5\n", "every column needs a name of its own; got 'x', 'y', 'z', 'a'"),
        (b"x,y,z,\n1,2,3,4\n", "3 names .* 4 columns"),
        (b"1,5;2,5;3,5\n1,5;2,5;3,5\n", "expected numbers in line 2"),
        (b"1 2\n3 4\n", "2 columns without names"),
        (b"a b c\n1 2 3\n", "no coordinates; expected columns x, y, z, got a, b, c"),
        (b"1_0 2 3\n1 2 3\n", "row 1 of the points is no row of numbers"),
    ],
)
def test_what_is_no_table_of_numbers(tmp_path, text, words):
    (tmp_path / "a.txt").write_bytes(text)
    with pytest.raises(ValueError, match=rf"a\.txt: {words}"):
        list(open_cloud(tmp_path / "a.txt").chunks())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1 2", "'1 2' .*(columns changed from 3 to 2|2 columns, expected 3)"),
        ("1 2 3 4", "'1 2 3 4' .*(columns changed from 3 to 4|4 columns, expected 3)"),
        ("1 two 3", "'1 two 3' .*could not convert string 'two'"),
        ("1 2,5 3", "'1 2,5 3'"),
        ("1 2 3 // x", "'1 2 3 // x'"),
    ],
)
@pytest.mark.parametrize("place", [1, 6, 7, 8, 49])
@pytest.mark.parametrize("size", [7, 1000])
def test_a_row_unlike_the_others_is_shown(tmp_path, monkeypatch, row, words, place, size):
    monkeypatch.setattr("pc3d.io.clouds.rows._BLOCK", 7)
    rows = ["x y z", *(f"{i} 0.5 -1" for i in range(50))]
    rows[1 + place] = row
    (tmp_path / "a.txt").write_text("\n".join(rows))
    cloud = open_cloud(tmp_path / "a.txt")
    words = rf"a\.txt: row {place + 1} of the points is no row of numbers like the others: {words}"
    with pytest.raises(ValueError, match=words):
        list(cloud.chunks(size=size))


def test_a_file_that_got_shorter(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(ROWS))
    cloud = open_cloud(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("\n".join(ROWS[:2]))
    with pytest.raises(ValueError, match=r"a\.txt: truncated: expected 3 rows of points, found 2"):
        list(cloud.chunks())


def test_a_block_of_rows_is_in_memory_at_a_time(tmp_path):
    num = 30_000
    (tmp_path / "a.txt").write_text("1.25 2.5 3.75\n" * num)
    cloud = open_cloud(tmp_path / "a.txt")
    tracemalloc.start()
    try:
        total = sum(len(chunk.xyz) for chunk in cloud.chunks(size=500))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert total == num


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.floats(width=64, allow_nan=False)] * 2, st.integers(-(2**53), 2**53)),
        min_size=1, max_size=9,
    ),
    mark=st.sampled_from([" ", "\t", ",", ";"]),
    size=st.integers(1, 10),
)  # fmt: skip
def test_numbers_are_read_exactly(tmp_path_factory, rows, mark, size):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("".join(mark.join(map(repr, row)) + "\n" for row in rows))
    found = np.concatenate([chunk.xyz for chunk in open_cloud(path).chunks(size=size)])
    np.testing.assert_array_equal(found, np.array(rows, np.float64).reshape(-1, 3))
