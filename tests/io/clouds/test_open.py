"""What holds for files of points of every format."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from pc3d.io.cloud import EXTENSIONS, open_cloud, read_cloud
from tests.io.clouds.samples import NUM, WRITERS, points


@pytest.fixture(params=sorted(WRITERS))
def path(request, tmp_path) -> Path:
    file = tmp_path / f"a{request.param}"
    WRITERS[request.param](file, points())
    return file


def test_every_format_has_a_sample():
    assert set(WRITERS) == set(EXTENSIONS)


def test_all_points_and_columns(path):
    """Against what was written; las and bin have tests of their own."""
    cloud = open_cloud(path)
    assert (cloud.path, cloud.num_points) == (path, NUM)
    if path.suffix in (".las", ".laz", ".bin"):
        return
    expected = points()
    found = read_cloud(path, list(cloud.columns))
    assert found.xyz.dtype == np.float64
    np.testing.assert_array_equal(found.xyz, np.stack([expected.pop(a) for a in "xyz"], axis=1))
    assert list(cloud.columns) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found.columns[name], array)
        is_text = path.suffix in (".txt", ".xyz", ".asc", ".pts", ".csv")
        assert cloud.columns[name] == (np.float64 if is_text else array.dtype)
        assert found.columns[name].dtype == cloud.columns[name]


@pytest.mark.parametrize("size", [1, 5, NUM - 1, NUM, NUM + 1])
def test_chunks_are_consecutive_and_no_larger_than_asked(path, size):
    cloud = open_cloud(path)
    names = list(cloud.columns)[::-2]
    whole = read_cloud(path, names)
    chunks = list(cloud.chunks(names, size))
    assert [len(c.xyz) for c in chunks] == [size] * (NUM // size) + [NUM % size] * (NUM % size > 0)
    np.testing.assert_array_equal(np.concatenate([c.xyz for c in chunks]), whole.xyz)
    for name in names:
        found = np.concatenate([c.columns[name] for c in chunks])
        np.testing.assert_array_equal(found, whole.columns[name])
    assert all(list(c.columns) == names for c in chunks)


def test_a_file_can_be_read_again_and_by_two_at_once(path):
    cloud = open_cloud(path)
    first, second = cloud.chunks(size=5), cloud.chunks(size=5)
    pairs = list(zip(first, second, strict=True))
    assert len(pairs) == -(-NUM // 5)
    assert all(np.array_equal(a.xyz, b.xyz) for a, b in pairs)
    assert [c.columns for c in cloud.chunks(size=NUM)] == [{}]


def test_chunks_are_the_callers_own(path):
    """A mapped array would end the process with a bus error once the file gets shorter."""
    cloud = open_cloud(path)
    names = list(cloud.columns)
    chunk = next(iter(cloud.chunks(names)))
    for array in (chunk.xyz, *chunk.columns.values()):
        assert not isinstance(array, np.memmap) and not isinstance(array.base, np.memmap)
        assert array.flags.writeable
        array[:] = 0
    assert read_cloud(path).xyz.any()


def test_unknown_columns(path):
    with pytest.raises(ValueError, match=rf"{path.name}: no column colour, depth; besides the co"):
        next(iter(open_cloud(path).chunks(["colour", *list(open_cloud(path).columns), "depth"])))
    with pytest.raises(ValueError, match=rf"{path.name}: no column x;"):
        read_cloud(path, ["x"])


def test_the_extension_may_be_in_capitals(path):
    again = path.rename(path.with_suffix(path.suffix.upper()))
    assert open_cloud(str(again)).num_points == NUM


@pytest.mark.parametrize("name", ["a.e57", "a", "a.ply.gz", ".ply"])
def test_unknown_extensions(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name}: no file of points.*\.ply, \.las, \.laz"):
        open_cloud(tmp_path / name)


@pytest.mark.parametrize("suffix", EXTENSIONS)
class TestFilesThatCannotBeRead:
    def test_missing(self, tmp_path, suffix):
        with pytest.raises(FileNotFoundError, match="nothing"):
            open_cloud(tmp_path / f"nothing{suffix}")

    def test_a_folder(self, tmp_path, suffix):
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(ValueError, match=rf"folder\{suffix}: cannot be read: Is a directory"):
            open_cloud(tmp_path / f"folder{suffix}")

    def test_a_link_that_leads_to_itself(self, tmp_path, suffix):
        loop = tmp_path / f"loop{suffix}"
        loop.symlink_to(loop)
        with pytest.raises(ValueError, match=rf"loop\{suffix}: cannot be read: .*symbolic links"):
            open_cloud(loop)

    def test_forbidden(self, tmp_path, suffix, monkeypatch):
        """Permissions do not stop the superuser; the kernel is played."""
        path = tmp_path / f"secret{suffix}"
        path.touch()
        real = Path.open

        def forbid(self, *args, **kwargs):
            if self == path:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, "open", forbid)
        with pytest.raises(PermissionError, match="secret"):
            open_cloud(path)

    def test_empty(self, tmp_path, suffix):
        (tmp_path / f"empty{suffix}").touch()
        with pytest.raises(ValueError, match=rf"empty\{suffix}: "):
            open_cloud(tmp_path / f"empty{suffix}")

    def test_another_format(self, tmp_path, suffix):
        path = tmp_path / f"other{suffix}"
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x03")
        with pytest.raises(ValueError, match=rf"other\{suffix}: "):
            open_cloud(path)

    def test_truncated(self, tmp_path, suffix):
        path = tmp_path / f"short{suffix}"
        WRITERS[suffix](path, points())
        content = path.read_bytes()
        end = len(content) - 3
        if suffix in (".txt", ".xyz", ".asc", ".pts", ".csv"):
            end = content.rindex(b"\n", 0, -1) + 12  # within the first number of the last row
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=rf"short\{suffix}: "):
            read_cloud(path, list(open_cloud(path).columns))


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".npz", ".pcd", ".las", ".laz"])
def test_formats_with_names_take_no_others(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, points())
    with pytest.raises(ValueError, match=rf"a\{suffix}: names= is for .* no names.*x, y, z"):
        open_cloud(path, ["x", "y", "z"])


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".npz", ".pcd", ".txt", ".bin"])
def test_no_points(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, {name: array[:0] for name, array in points().items()})
    with pytest.raises(ValueError, match=rf"a\{suffix}: no (points|row of numbers)"):
        open_cloud(path)


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".npz", ".pcd", ".csv"])
def test_coordinates_in_capitals_and_other_orders(tmp_path, suffix):
    columns = points()
    z, x, y = (columns.pop(axis) for axis in "zxy")
    WRITERS[suffix](tmp_path / f"a{suffix}", {"Z": z, "time": columns["time"], "X": x, "Y": y})
    found = read_cloud(tmp_path / f"a{suffix}", ["time"])
    np.testing.assert_array_equal(found.xyz, np.stack([x, y, z], axis=1))
    np.testing.assert_array_equal(found.columns["time"], columns["time"])


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".npz", ".pcd", ".csv"])
def test_no_coordinates(tmp_path, suffix):
    columns = points()
    del columns["y"]
    WRITERS[suffix](tmp_path / f"a{suffix}", columns)
    with pytest.raises(ValueError, match=rf"a\{suffix}: no coordinates; expected .* got x, z, red"):
        open_cloud(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".npz", ".pcd", ".csv", ".bin"])
def test_points_that_are_not_finite_are_passed_on(tmp_path, suffix):
    columns = points()
    columns["y"][3], columns["x"][7], columns["reflectance"][5] = np.nan, -np.inf, np.inf
    WRITERS[suffix](tmp_path / f"a{suffix}", columns)
    name = "intensity" if suffix == ".bin" else "reflectance"
    found = read_cloud(tmp_path / f"a{suffix}", [name])
    assert np.isnan(found.xyz[3, 1]) and found.xyz[7, 0] == -np.inf and len(found.xyz) == NUM
    assert found.columns[name][5] == np.inf
