"""LAS and LAZ files against what laspy reads, and damaged ones."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import laspy
import numpy as np
import pytest

from pc3d.io.cloud import open_cloud, read_cloud
from tests.io.clouds.samples import write_las

VERSIONS = {
    **dict.fromkeys(range(4), "1.2"),
    4: "1.3",
    5: "1.3",
    **dict.fromkeys(range(6, 11), "1.4"),
}


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize("point_format", VERSIONS)
def test_dimensions_of_every_point_format(tmp_path, point_format, suffix):
    path = tmp_path / f"a.{suffix}"
    expected = write_las(path, point_format, VERSIONS[point_format])
    cloud = open_cloud(path)
    names = [n for n in expected.point_format.dimension_names if n not in "XYZ"]
    assert list(cloud.columns) == names
    if suffix == "laz" and point_format >= 9:
        assert "waveform packets may be wrong" in cloud.remarks[0]
        names = names[: names.index("wavepacket_index")]
    else:
        assert cloud.remarks == ()
    found = read_cloud(path, names)
    np.testing.assert_array_equal(found.xyz, np.stack([expected.x, expected.y, expected.z], 1))
    for name in names:
        np.testing.assert_array_equal(found.columns[name], np.array(expected[name]))
        assert found.columns[name].dtype == cloud.columns[name]
    assert cloud.columns["intensity"] == np.uint16 and cloud.columns["classification"] == np.uint8


def _count(path: Path) -> int:
    return len(read_cloud(path).xyz)


def test_workers_that_are_forked_from_a_program_that_read_laz(tmp_path):
    """The threads that decompress in the program are not there in a forked process."""
    expected = write_las(tmp_path / "a.laz", 6, "1.4")
    assert _count(tmp_path / "a.laz") == len(expected)
    with get_context("fork").Pool(1) as pool:
        found = pool.apply_async(_count, (tmp_path / "a.laz",)).get(timeout=60)
    assert found == len(expected)


def test_scaled_and_repeated_extra_dimensions(tmp_path):
    las = laspy.create(point_format=6, file_version="1.4")
    las.add_extra_dims([
        laspy.ExtraBytesParams("height", "i4", scales=[0.5], offsets=[100.0]),
        laspy.ExtraBytesParams("normal", "3f4"),
        laspy.ExtraBytesParams("Reflectance", "f8"),
        laspy.ExtraBytesParams("bytes", "5u1"),
    ])  # fmt: skip
    las.X = np.arange(4)
    las["height"] = np.array([0.0, 100.5, -7, 3])
    las["normal"] = np.arange(12).reshape(4, 3)
    las["Reflectance"] = [1.5, 2, 3, 4]
    las["bytes"] = np.arange(20).reshape(4, 5)
    las.write(tmp_path / "a.laz")
    cloud = open_cloud(tmp_path / "a.laz")
    extra = {
        n: str(d) for n, d in cloud.columns.items() if n not in laspy.PointFormat(6).dimension_names
    }
    assert extra == {
        "height": "float64", "normal_0": "float32", "normal_1": "float32", "normal_2": "float32",
        "Reflectance": "float64", **{f"bytes_{i}": "uint8" for i in range(5)},
    }  # fmt: skip
    found = read_cloud(tmp_path / "a.laz", list(extra)).columns
    assert found["height"].tolist() == [0, 100.5, -7, 3]
    assert found["normal_2"].tolist() == [2, 5, 8, 11]
    assert found["bytes_4"].tolist() == [4, 9, 14, 19]
    assert found["Reflectance"].tolist() == [1.5, 2, 3, 4]


def test_bytes_that_nothing_describes(tmp_path):
    las = laspy.create(point_format=6, file_version="1.4")
    las.add_extra_dims([laspy.ExtraBytesParams("a", "u2"), laspy.ExtraBytesParams("b", "u4")])
    las.X, las["b"] = [1, 2], [0x01020304, 5]
    las.write(tmp_path / "a.las")
    content = (tmp_path / "a.las").read_bytes()
    (tmp_path / "a.las").write_bytes(content.replace(b"LASF_Spec", b"LASF_Spac"))
    found = read_cloud(tmp_path / "a.las", ["ExtraBytes_2", "ExtraBytes_5"])
    assert found.columns["ExtraBytes_2"].tolist() == [4, 5]
    assert found.columns["ExtraBytes_5"].tolist() == [1, 0]


def test_dimensions_of_equal_names(tmp_path):
    las = laspy.create(point_format=6, file_version="1.4")
    las.add_extra_dims([laspy.ExtraBytesParams("a1", "u2"), laspy.ExtraBytesParams("a2", "u4")])
    las.X = [1, 2]
    las.write(tmp_path / "a.las")
    content = (tmp_path / "a.las").read_bytes()
    for new in (b"a1", b"\0\0", b"X\0"):
        (tmp_path / "b.las").write_bytes(content.replace(b"a2", new))
        with pytest.raises(
            ValueError, match=r"b\.las: two dimensions are named '.*', or one has no"
        ):
            open_cloud(tmp_path / "b.las")
    (tmp_path / "b.las").write_bytes(content.replace(b"a2" + b"\0" * 10, b"bit_fields\0\0"))
    with pytest.raises(ValueError, match=r"b\.las: damaged.*bit_fields"):
        open_cloud(tmp_path / "b.las")


def test_no_points(tmp_path):
    for name in ("a.las", "a.laz"):
        laspy.create(point_format=6, file_version="1.4").write(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}: no points"):
            open_cloud(tmp_path / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Content of files of several formats, compressed in layers, in rows and not at all."""
    folder = tmp_path_factory.mktemp("las")
    content = {}
    for name, point_format, version in (
        ("a.laz", 7, "1.4"),
        ("b.laz", 3, "1.2"),
        ("c.las", 6, "1.4"),
    ):
        write_las(folder / name, point_format, version, num=300)
        content[name] = (folder / name).read_bytes()
    return content


@pytest.mark.parametrize("name", ["a.laz", "b.laz", "c.las"])
def test_truncated_anywhere(files, name, tmp_path):
    content = files[name]
    ends = {*range(0, 460, 23), *range(460, len(content), len(content) // 25), len(content) - 1}
    for end in sorted(ends - {len(content)}):
        (tmp_path / name).write_bytes(content[:end])
        with pytest.raises(
            ValueError, match=rf"/{name}: (damaged or truncated|not a LAS)"
        ) as error:
            open_cloud(tmp_path / name)
        assert str(error.value).count(name) == 1 and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, b"LASS", "not a LAS or LAZ file"),
        (24, b"\x02", "version 2.4 is not known; expected 1.0 to 1.5"),
        (25, b"\x07", "version 1.7 is not known"),
        (94, b"\xff\xff", "points at byte"),
        (96, b"\xff\xff\xff\x7f", "points at byte 2147483647"),
        (96, b"\x09\0\0\0", "points at byte 9"),
        (100, b"\xff\xff\xff\xff", "a record at byte .* does not end before byte"),
        (105, b"\x01\x00", "points of 1 bytes|Incoherent point size"),
        (104, b"\x3f", "not supported|PointFormat|63"),
        (131, b"\0" * 8, "scales and offsets"),
        (139, b"\xff" * 8, "scales and offsets"),
        (155, b"\0\0\0\0\0\0\xf0\x7f", "scales and offsets .*inf"),
        (235, b"\xff" * 8, "a record at byte"),
        (243, b"\xff" * 4, "a record at byte"),
        (247, b"\0\0\0\0\0\0\0\x01", "points"),
        (247, b"\x2b", "points"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.laz", "c.las"])
def test_damaged_headers(files, name, tmp_path, place, value, words):
    """Nothing is made room for, and no record is looked for four billion times."""
    content = files[name]
    if place == 247:  # one more point than there are, or 2**56
        assert content[247] == 300 % 256
        value = (301).to_bytes(2, "little") if len(value) == 1 else value
    if place == 104 and name == "a.laz":
        value = b"\xbf"
    (tmp_path / name).write_bytes(content[:place] + value + content[place + len(value) :])
    with pytest.raises(ValueError, match=rf"/{name}: .*({words})"):
        open_cloud(tmp_path / name)


def _layer(content: bytes) -> int:
    """Where the size of a layer of the first chunk stands."""
    return int.from_bytes(content[96:100], "little") + 8 + laspy.PointFormat(7).size + 4 + 3


def _table(content: bytes) -> int:
    """Where the table of chunks starts."""
    start = int.from_bytes(content[96:100], "little")
    return int.from_bytes(content[start : start + 8], "little")


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (lambda c: _layer(c), b"\x7f", r"layers of \d+ bytes in a chunk of \d+"),
        (lambda c: _layer(c) - 7, b"\x07", r"number of points differs from that in the chunks"),
        (lambda c: _table(c) + 4, b"\xff\xff\xff\xff", r"300 points in 4294967295 chunks"),
        (lambda c: _table(c) + 4, b"\0\0\0\0", r"300 points in 0 chunks"),
        (lambda c: _table(c) + 8, b"\xff\x03\x07", r"bytes"),
        (lambda c: c.index(b"laszip encoded") + 52 + 32, b"\x01", "made of the items"),
        (lambda c: c.index(b"laszip encoded"), b"L", "buffer|unpack"),
        (lambda c: int.from_bytes(c[96:100], "little") + 3, b"\x7f", "table of .* is missing"),
        (lambda c: int.from_bytes(c[96:100], "little"), b"\xff" * 8, "bytes|table|points"),
    ],
)
def test_damaged_compression(files, tmp_path, where, value, words):
    """The decompressor would make room for gigabytes, and end the process if there is none."""
    content = files["a.laz"]
    place = where(content)
    (tmp_path / "a.laz").write_bytes(content[:place] + value + content[place + len(value) :])
    with pytest.raises(ValueError, match=rf"/a\.laz: .*{words}"):
        open_cloud(tmp_path / "a.laz")


def test_a_panic_of_the_decompressor_is_an_error_of_the_file():
    from pc3d.io.clouds.las_chunks import reading_laz

    class PanicException(BaseException):
        pass

    with (
        pytest.raises(ValueError, match=r"a\.laz: damaged or truncated \(boom\)"),
        reading_laz("a.laz"),
    ):
        raise PanicException("boom")
    with pytest.raises(KeyboardInterrupt), reading_laz("a.laz"):
        raise KeyboardInterrupt


FUZZ = """
import logging, resource, sys
import numpy as np
from pathlib import Path
from pc3d.io.cloud import open_cloud
logging.disable(logging.CRITICAL)
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
folder = Path(sys.argv[1])
for path in sorted(folder.iterdir()):
    content = path.read_bytes()
    rng = np.random.default_rng(len(content))
    points = int.from_bytes(content[96:100], "little")
    regions = [(94, 140), (227, points), (points, points + 150), (len(content) - 60, len(content))]
    for i in range(25):
        damaged = bytearray(content)
        for low, high in rng.permutation(regions)[:2]:
            damaged[rng.integers(low, min(high, len(content)))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            cloud = open_cloud(path)
            for chunk in cloud.chunks(list(cloud.columns)):
                assert chunk.xyz.shape[1] == 3
        except ValueError as error:
            assert path.name in str(error), error
"""


def test_damage_anywhere_ends_in_an_error_that_names_the_file(files, tmp_path):
    """In a process of its own: it would be the process that dies."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", FUZZ, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
