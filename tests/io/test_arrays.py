"""`.npy` files as pc3d and other programs write them, and damaged ones."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from pc3d.io.arrays import INTEGERS, read_array


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "u1", ">i4"])
def test_labels_in_any_integer_type_as_a_row_or_a_column(tmp_path, dtype):
    values = np.array([3, 0, 7, 1], dtype=dtype)
    np.save(tmp_path / "row.npy", values)
    np.save(tmp_path / "column.npy", values[:, None])
    for name in ("row", "column"):
        found = read_array(tmp_path / f"{name}.npy", kinds=INTEGERS)
        assert found.shape == (4,)
        assert found.tolist() == [3, 0, 7, 1]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "u1"])
def test_coordinates_in_any_type_and_order_of_memory(tmp_path, dtype):
    values = np.arange(15, dtype=dtype).reshape(5, 3)
    np.save(tmp_path / "c.npy", values)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values))
    for name in ("c", "fortran"):
        np.testing.assert_array_equal(read_array(tmp_path / f"{name}.npy", 3), values)


def test_nothing_is_read_before_it_is_used_and_nothing_can_be_written(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    array = read_array(tmp_path / "a.npy", 3)
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_no_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    assert read_array(tmp_path / "a.npy", 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("array", "columns", "words"),
    [
        (np.zeros((4, 2)), 3, r"expected an array \[P, 3\]; got \[4, 2\]"),
        (np.zeros((4, 2)), None, r"expected an array \[P\]; got \[4, 2\]"),
        (np.zeros(12), 3, r"expected an array \[P, 3\]; got \[12\]"),
        (np.zeros((4, 1, 1)), None, r"expected an array \[P\]; got \[4, 1, 1\]"),
        (np.float64(3), None, r"expected an array \[P\]; got \[\]"),
        (np.array(["a"]), None, "expected numbers; got <U1"),
        (np.zeros(3, complex), None, "expected numbers; got complex128"),
        (np.zeros(3, bool), None, "expected numbers; got bool"),
        (np.zeros(3, [("x", "f4")]), None, "expected numbers; got"),
    ],
)
def test_other_shapes_and_kinds(tmp_path, array, columns, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=rf"a\.npy: {words}"):
        read_array(tmp_path / "a.npy", columns)


def test_labels_are_integers(tmp_path):
    np.save(tmp_path / "segment.npy", np.array([0.5, 1]))
    with pytest.raises(ValueError, match=r"segment\.npy: expected integers; got float64"):
        read_array(tmp_path / "segment.npy", kinds=INTEGERS)


def test_python_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, None]), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps([1, 2]))
    np.savez(tmp_path / "c.npz", a=np.zeros(3))
    (tmp_path / "c.npz").rename(tmp_path / "c.npy")
    for name in "abc":
        with pytest.raises(ValueError, match=rf"{name}\.npy: (damaged or truncated|not a \.npy)"):
            read_array(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("num_bytes", [5, 9, 60, 128, 150])
def test_truncated(tmp_path, num_bytes):
    np.save(tmp_path / "a.npy", np.arange(60.0).reshape(20, 3))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:num_bytes])
    with pytest.raises(ValueError, match=r"a\.npy: (damaged or truncated|not a \.npy)"):
        read_array(tmp_path / "a.npy", 3)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 3)}",
        b"{'descr': '<q9', 'fortran_order': False, 'shape': (3,)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
        b"{'descr': '<f4', 'shape': (3,)}",
        b"{'descr': " + b"(" * 3000,
        b"'''",
        b"\x00\x00\x00",
    ],
)
def test_headers_that_lie(tmp_path, header):
    """Nothing is allocated for a trillion rows."""
    header = header.ljust(len(header) + 63 - (len(header) + 10) % 64) + b"\n"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(magic + header + b"\0" * 48)
    with pytest.raises(ValueError, match=r"a\.npy: "):
        read_array(tmp_path / "a.npy", 3)


def test_a_header_that_claims_four_gigabytes_is_not_made_room_for(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + b"\xf0\xff\xff\xff" + b"{'descr': '<f4'}")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"a\.npy: not a \.npy file of numbers"):
            read_array(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
