"""Text files of S3DIS with the damage that the release is known for."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pc3d.io.s3dis import Repair, count_points, read_alignment_angles, read_points
from tests.data.fixtures import s3dis_lines


def read(tmp_path, content: bytes):
    path = tmp_path / "ceiling_1.txt"
    path.write_bytes(content)
    return read_points(path)


def test_numbers_come_back(tmp_path):
    rng = np.random.default_rng(0)
    points = np.concatenate(
        [rng.uniform(-30, 30, (50, 3)).round(3), rng.integers(0, 256, (50, 3))], axis=1
    )
    found, repairs = read(tmp_path, s3dis_lines(points))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, points)
    assert repairs == []
    assert count_points(tmp_path / "ceiling_1.txt") == 50


@pytest.mark.parametrize(
    "content",
    [
        b"1 -2 3.5 4 5 6\n-7 8 9 10 11 12\n",
        b"1 -2 3.5 4 5 6\r\n-7 8 9 10 11 12\r\n",
        b"1 -2 3.5 4 5 6\r\r\n-7 8 9 10 11 12",
        b"  1\t-2 3.5 4 5 6  \n\n \t\n-7 +8. 9e0 1E1 11 12",
        b"\n1 -2 3.5 4 5 6\n-7 8 .9e+1 10 11 12\n\n",
        b"\xef\xbb\xbf1 -2 3.5 4 5 6\n-7 8 9 10 11 12\n",
    ],
)
def test_blanks_line_ends_and_forms_of_numbers_do_not_matter(tmp_path, content):
    found, repairs = read(tmp_path, content)
    assert found.tolist() == [[1, -2, 3.5, 4, 5, 6], [-7, 8, 9, 10, 11, 12]]
    assert repairs == []
    assert count_points(tmp_path / "ceiling_1.txt") == 2


@pytest.mark.parametrize(
    ("old", "expected", "new"),
    [
        # Area_5/office_19/Annotations/ceiling_1.txt
        (b"1 2 3 103.0\x100000 4 5", [1, 2, 3, 103, 4, 5], "1 2 3 103.000000 4 5"),
        # Area_5/hallway_6/Annotations/ceiling_1.txt
        (b"1 2 3 4 185\x00187", [1, 2, 3, 4, 185, 187], "1 2 3 4 185 187"),
        # Area_3/hallway_2: its neighbours are -9.160 too; without the byte it would be -9.10
        (b"19.302 -9.1\x160 1.785 146 137 106", [19.302, -9.16, 1.785, 146, 137, 106],
         "19.302 -9.160 1.785 146 137 106"),
        # a minus that lost its bit looks like the end of a line
        (b"1 \r2 3 4 5 6", [1, -2, 3, 4, 5, 6], "1 -2 3 4 5 6"),
    ],
)  # fmt: skip
def test_bytes_that_lost_a_bit_get_it_back_and_are_listed(tmp_path, old, expected, new):
    whole = b"7 8 9 10 11 12\n"
    found, (repair,) = read(tmp_path, whole + whole + old + b"\r\n" + whole)
    assert found[2].tolist() == expected
    assert found[[0, 1, 3]].tolist() == [[7, 8, 9, 10, 11, 12]] * 3
    assert isinstance(repair, Repair)
    assert (repair.path, repair.line, repair.new) == (tmp_path / "ceiling_1.txt", 3, new)
    assert str(repair).startswith(f"{tmp_path}/ceiling_1.txt:3: ")
    assert str(repair).isascii() and str(repair).isprintable()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file has no points"),
        (b" \n\r\n", "the file has no points"),
        (b"1 2 3 4 5\n", r":1: expected six numbers.*got '1 2 3 4 5'"),
        (b"1 2 3 4 5 6\n1 2 3 4 5 6 7\n", ":2: expected six numbers"),
        (b"1 2 3 4 5 6 7\n1 2 3 4 5\n", ":1: expected six numbers"),
        (b"1 2 3 4 5 6\n1 2 3 4 5 1.2.3\n", ":2: expected six numbers"),
        (b"1 2 3 4 5 --6\n", ":1: expected six numbers"),
        (b"1 2 3 4 5 0x6\n", ":1: expected six numbers"),
        (b"1 2 3 4 5 1_0\n", ":1: expected six numbers"),
        (b"x y z r g b\n1 2 3 4 5 6\n", ":1: expected six numbers"),
        (b"1 2 3 4 5 6\n1 2 \x01\x02 3\n", r":2: expected six numbers.*\\x01"),
        (b"1 2 3 4 5 6\n1 2 3 4 5 6\x07\n", r":2: expected six numbers.*\\x07"),
        (b"1 2 3 4 5 1\xb27\n", r":1: expected six numbers.*1\\+xb27"),
        (b"1 2 3 4 5\xa06\n", ":1: expected six numbers"),
        (b"\x00" * 40, "no points|:1: expected six numbers"),
        (b"1 2 3 4 5 6 " * 30, ":1: expected six numbers"),
        (b"1 2 3 4 5 256\n", r"point 1 is .* expected .*0\.\.255"),
        (b"1 2 3 4 5 6\n1 2 3 -4 5 6\n", "point 2 is"),
        (b"1 2 3 4 5 6\n1 2 3 4 185187 6\n", "point 2 is"),
        (b"1 2 nan 4 5 6\n", r"point 1 is .*nan|:1: expected six numbers"),
        (b"1 2 1e999 4 5 6\n", "point 1 is .*inf"),
    ],
)
def test_damaged_files(tmp_path, content, words):
    with pytest.raises(ValueError, match=words) as error:
        read(tmp_path, content)
    assert "ceiling_1.txt" in str(error.value)
    assert len(str(error.value)) < 500


def test_an_endless_number_is_refused_at_once(tmp_path):
    """In time that grows with its length, not with the square of it."""
    start = time.process_time()
    with pytest.raises(ValueError, match=":1: expected six numbers"):
        read(tmp_path, b"1 2 3 4 5 " + b"9" * 30_000 + b"\x07\n")
    assert time.process_time() - start < 2


def test_angles(tmp_path):
    path = tmp_path / "Area_1_alignmentAngle.txt"
    path.write_text(
        "## Global alignment angle per disjoint space in Area_1 ##\n"
        "## Disjoint Space Name Global Alignment Angle ##\n"
        "conferenceRoom_1 270\r\n\nhallway_2 90.5\n"
    )
    assert read_alignment_angles(path) == {"conferenceRoom_1": 270.0, "hallway_2": 90.5}


@pytest.mark.parametrize("line", ["office_1", "office_1 90 1", "office_1 ninety", "office_1 nan"])
def test_damaged_angles(tmp_path, line):
    path = tmp_path / "angles.txt"
    path.write_text(f"hallway_1 180\n{line}\n")
    with pytest.raises(ValueError, match=r"angles\.txt:2: expected a room and its angle"):
        read_alignment_angles(path)
