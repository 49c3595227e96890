"""pc3d.io.ply against files written by plyfile and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from pc3d.io.ply import count_vertices, read_vertices, write_vertices

NUM_VERTICES = 37


def _vertices() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        **{axis: rng.normal(size=NUM_VERTICES).astype(np.float32) for axis in "xyz"},
        **{c: rng.integers(0, 256, NUM_VERTICES, dtype=np.uint8) for c in ("red", "green", "blue")},
        "label": rng.integers(0, 1000, NUM_VERTICES, dtype=np.uint16),
    }


def _write_with_plyfile(path, vertices, *, text=False, byte_order="<", faces=True) -> None:
    table = np.empty(NUM_VERTICES, dtype=[(n, a.dtype) for n, a in vertices.items()])
    for name, array in vertices.items():
        table[name] = array
    elements = [PlyElement.describe(table, "vertex")]
    if faces:
        corners = np.empty(2, dtype=[("vertex_indices", "i4", (3,))])
        corners["vertex_indices"] = [[0, 1, 2], [3, 4, 5]]
        elements.append(PlyElement.describe(corners, "face"))
    PlyData(elements, text=text, byte_order=byte_order).write(str(path))


def _assert_equal(found, expected) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("text, byte_order", [(False, "<"), (False, ">"), (True, "=")])
def test_reads_what_plyfile_writes(tmp_path, text, byte_order):
    vertices = _vertices()
    _write_with_plyfile(tmp_path / "a.ply", vertices, text=text, byte_order=byte_order)
    found = read_vertices(tmp_path / "a.ply")
    _assert_equal(found, vertices)
    if byte_order == "<":
        assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in vertices.items()}


@pytest.mark.parametrize("faces", [None, np.array([[0, 1, 2], [36, 7, 9]]), np.empty((0, 3), int)])
def test_plyfile_reads_what_we_write(tmp_path, faces):
    vertices = _vertices()
    write_vertices(tmp_path / "a.ply", vertices, faces)
    ply = PlyData.read(str(tmp_path / "a.ply"))
    _assert_equal(
        {p.name: np.asarray(ply["vertex"][p.name]) for p in ply["vertex"].properties}, vertices
    )
    _assert_equal(read_vertices(tmp_path / "a.ply"), vertices)
    if faces is None:
        assert "face" not in ply
    else:
        found = [list(corners) for corners in ply["face"]["vertex_indices"]]
        assert found == faces.tolist()


def test_header_with_carriage_returns_and_comments(tmp_path):
    header = (
        b"ply\r\nformat binary_little_endian 1.0\r\ncomment element vertex 7\r\n"
        b"element vertex 1\r\nproperty float x\r\nproperty float y\r\nproperty float z\r\n"
        b"end_header\r\n"
    )
    path = tmp_path / "a.ply"
    path.write_bytes(header + np.array([1.5, -2, 3], "<f4").tobytes())
    _assert_equal(read_vertices(path), {"x": [1.5], "y": [-2], "z": [3]})


def test_element_before_the_vertices(tmp_path):
    camera = np.array([(1.0, 2)], dtype=[("view", "f4"), ("id", "u1")])
    table = np.array([(1, 2, 3), (4, 5, 6)], dtype=[(axis, "f4") for axis in "xyz"])
    elements = [PlyElement.describe(camera, "camera"), PlyElement.describe(table, "vertex")]
    PlyData(elements, byte_order="<").write(str(tmp_path / "a.ply"))
    _assert_equal(read_vertices(tmp_path / "a.ply"), {"x": [1, 4], "y": [2, 5], "z": [3, 6]})


def test_no_vertices(tmp_path):
    empty = {axis: np.empty(0, np.float32) for axis in "xyz"}
    write_vertices(tmp_path / "a.ply", empty)
    _assert_equal(read_vertices(tmp_path / "a.ply"), empty)


@pytest.mark.parametrize("text", [False, True])
def test_truncated_file(tmp_path, text):
    path = tmp_path / "a.ply"
    _write_with_plyfile(path, _vertices(), text=text, faces=False)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.ply: .*truncated"):
        read_vertices(path)


def test_truncated_header(tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\n")
    with pytest.raises(ValueError, match="end_header"):
        read_vertices(path)


HEADER = (
    b"ply\nformat ascii 1.0\nelement vertex 2\n"
    b"property float x\nproperty float y\nproperty float z\nend_header\n"
)
ROWS = b"1 2 3\n4 5 6"


def test_ascii_without_a_last_line_end(tmp_path):
    (tmp_path / "a.ply").write_bytes(HEADER + ROWS)
    _assert_equal(read_vertices(tmp_path / "a.ply"), {"x": [1, 4], "y": [2, 5], "z": [3, 6]})
    assert count_vertices(tmp_path / "a.ply") == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"vertex 2", b"vertex 1000000000000", "truncated.*1000000000000 x vertex"),
        (b"vertex 2", b"vertex " + b"9" * 5000, "damaged ply header"),
        (b"vertex 2", b"vertex -2", "damaged ply header at the line b'element vertex -2"),
        (b"vertex 2", b"vertex two", "damaged ply header"),
        (b"vertex 2", b"vertex", "damaged ply header"),
        (b"vertex 2", b"points 2", r"no vertex element; got \['points'\]"),
        (b"vertex 2\n", b"vertex 2\nelement vertex 2\n", "damaged ply header"),
        (b"vertex 2\n", b"vertex 2\nelement camera 9\n", "element without properties|truncated"),
        (b"float y", b"real y", "damaged ply header"),
        (b"float y", b"float x", "two properties are named 'x'"),
        (b"float y", b"list float int y", "damaged ply header"),
        (b"float y", b"list uchar int y", "damaged or truncated|no y"),
        (b"format ascii 1.0\n", b"", "no format"),
        (b"ascii", b"binary_middle_endian", "damaged ply header"),
        (b"1.0\n", b"2.0\n", "damaged ply header"),
        (b"element vertex 2\n", b"", "damaged ply header"),
        (b"1 2 3\n", b"1 two 3\n", "damaged or truncated.*malformed"),
        (b"1 2 3\n", b"1 2 3 4\n", "damaged or truncated"),
        (b"1 2 3\n", b"1 2\n", "truncated"),
        (b"1 2 3\n", b"1 2 \xff\n", "damaged or truncated"),
    ],
)
def test_damaged_files(tmp_path, old, new, words):
    """A header that promises a trillion rows is refused before room is made for them."""
    assert old in HEADER + ROWS
    path = tmp_path / "a.ply"
    path.write_bytes((HEADER + ROWS).replace(old, new))
    with pytest.raises(ValueError, match=words) as error:
        read_vertices(path)
    assert "a.ply" in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("value", [b"300", b"-1", b"2.5"])
def test_ascii_values_beyond_their_type(tmp_path, value):
    content = HEADER.replace(b"float z\n", b"float z\nproperty uchar red\n")
    (tmp_path / "a.ply").write_bytes(content + b"1 2 3 7\n4 5 6 " + value)
    with pytest.raises(ValueError, match=r"a\.ply: damaged or truncated"):
        read_vertices(tmp_path / "a.ply")


def test_lists_of_vertices_are_left_out(tmp_path):
    content = HEADER.replace(b"float z\n", b"float z\nproperty list uchar int views\n")
    (tmp_path / "a.ply").write_bytes(content + b"1 2 3 2 8 9\n4 5 6 1 8\n")
    _assert_equal(read_vertices(tmp_path / "a.ply"), {"x": [1, 4], "y": [2, 5], "z": [3, 6]})


def test_a_list_that_promises_more_than_the_file_has(tmp_path):
    header = (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\n"
        b"property float y\nproperty float z\nproperty list uint int views\nend_header\n"
    )
    lengths = np.array([2**32 - 1], "<u4").tobytes()
    (tmp_path / "a.ply").write_bytes(header + np.zeros(3, "<f4").tobytes() + lengths)
    with pytest.raises(ValueError, match=r"a\.ply: damaged or truncated"):
        read_vertices(tmp_path / "a.ply")


def test_not_a_ply(tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(b"\x00\x01solid")
    with pytest.raises(ValueError, match=r"a\.ply: not a ply"):
        read_vertices(path)
    with pytest.raises(FileNotFoundError):
        read_vertices(tmp_path / "b.ply")


def test_no_z(tmp_path):
    vertices = _vertices()
    del vertices["z"]
    write_vertices(tmp_path / "a.ply", vertices)
    with pytest.raises(ValueError, match=r"no z; got .*'x', 'y', 'red'"):
        read_vertices(tmp_path / "a.ply")


def test_write_refuses_what_ply_cannot_hold(tmp_path):
    vertices = _vertices()
    with pytest.raises(ValueError, match="int64"):
        write_vertices(tmp_path / "a.ply", {**vertices, "label": np.arange(NUM_VERTICES)})
    with pytest.raises(ValueError, match="one length"):
        write_vertices(tmp_path / "a.ply", {**vertices, "label": np.zeros(3, np.uint8)})
    with pytest.raises(ValueError, match=r"\[F, 3\]"):
        write_vertices(tmp_path / "a.ply", vertices, np.zeros((2, 4), np.int32))
    assert list(tmp_path.iterdir()) == []


def test_arrays_do_not_depend_on_the_file(tmp_path):
    path = tmp_path / "a.ply"
    write_vertices(path, _vertices())
    # A mapped array would end the process with a bus error once the file gets shorter.
    assert all(array.flags.owndata for array in read_vertices(path).values())
