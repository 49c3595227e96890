"""What holds for copies in every format: whole or not at all, and never over the source."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pc3d.io.cloud import EXTENSIONS, OUTPUTS, check_target, open_cloud, read_cloud, write_cloud
from tests.io.clouds.samples import NUM, WRITERS, coordinates, points, write_las

CODES = np.random.default_rng(0).integers(0, 20, NUM).astype(np.uint8)
CONFIDENCE = np.random.default_rng(1).random(NUM).astype(np.float32)
ADDED = {"classification": CODES, "confidence": CONFIDENCE}
SOURCES = sorted(WRITERS)


@pytest.mark.parametrize("target", OUTPUTS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_pair_of_formats(tmp_path, source, target):
    WRITERS[source](tmp_path / f"a{source}", points())
    cloud = open_cloud(tmp_path / f"a{source}")
    expected = read_cloud(tmp_path / f"a{source}", list(cloud.columns))
    path = tmp_path / "new" / "folder" / f"b{target}"
    write_cloud(cloud, path, ADDED, {1: "one"})
    if target == ".npy":
        np.testing.assert_array_equal(np.load(path), CODES)
        return
    found = read_cloud(path, list(open_cloud(path).columns))
    np.testing.assert_allclose(found.xyz, expected.xyz, rtol=0, atol=0.5001e-6)
    for name, array in {**expected.columns, **ADDED}.items():
        factor = 1
        if target in (".las", ".laz") and source not in (".las", ".laz"):
            factor = 257 if name in ("red", "green", "blue") else 1
            name = "intensity_1" if name == "intensity" else name  # of KITTI: no whole numbers
        np.testing.assert_array_equal(found.columns[name], array.astype(float) * factor)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_npy_holds_what_is_added(tmp_path):
    np.savez(tmp_path / "a.npz", xyz=coordinates(), other=CODES)
    added = {"probability of tree": CONFIDENCE[::-1], **ADDED}
    assert write_cloud(open_cloud(tmp_path / "a.npz"), tmp_path / "b.npy", added, {1: "x"}) == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.npz", "b.confidence.npy", "b.npy", "b.probability of tree.npy",
    ]  # fmt: skip
    assert np.load(tmp_path / "b.npy").dtype == np.uint8
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), CODES)
    np.testing.assert_array_equal(np.load(tmp_path / "b.confidence.npy"), CONFIDENCE)
    found = np.load(tmp_path / "b.probability of tree.npy")
    np.testing.assert_array_equal(found, CONFIDENCE[::-1])


@pytest.mark.parametrize("name", ["a/b", "..\\b", "a:b"])
def test_npy_of_columns_that_no_file_can_be_named_for(tmp_path, name):
    np.savez(tmp_path / "a.npz", xyz=coordinates())
    with pytest.raises(ValueError, match=r"b\.npy: no file can be named for the column"):
        write_cloud(open_cloud(tmp_path / "a.npz"), tmp_path / "b.npy", {**ADDED, name: CODES}, {})
    with pytest.raises(ValueError, match=r"b\.npy: a \.npy file holds the column classification"):
        write_cloud(open_cloud(tmp_path / "a.npz"), tmp_path / "b.npy", {"label": CODES}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_npy_beside_that_is_the_source(tmp_path):
    np.save(tmp_path / "b.confidence.npy", coordinates())
    content = (tmp_path / "b.confidence.npy").read_bytes()
    cloud = open_cloud(tmp_path / "b.confidence.npy")
    with pytest.raises(ValueError, match=r"b\.confidence\.npy: is the file that is read"):
        write_cloud(cloud, tmp_path / "b.npy", ADDED, {})
    assert (tmp_path / "b.confidence.npy").read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_the_source_is_never_written(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, points())
    content = path.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    soft, hard = tmp_path / f"soft{suffix}", tmp_path / f"hard{suffix}"
    soft.symlink_to(path)
    hard.hardlink_to(path)
    monkeypatch.chdir(tmp_path)
    spellings = [
        path, soft, hard, Path(path.name), tmp_path / "folder" / ".." / path.name,
        tmp_path / "linked" / path.name,
    ]  # fmt: skip
    for source in (path, soft):
        for target in spellings:
            with pytest.raises(ValueError, match="is the file that is read"):
                write_cloud(open_cloud(source), target, ADDED, {})
            with pytest.raises(ValueError, match="is the file that is read"):
                check_target(source, target)
    assert path.read_bytes() == content
    soft.unlink()
    write_cloud(open_cloud(path), soft, ADDED, {})
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["b.pcd", "b.txt", "b", "b.e57", "b.las.gz"])
def test_extensions_that_are_not_written(tmp_path, name):
    WRITERS[".ply"](tmp_path / "a.ply", points())
    with pytest.raises(
        ValueError, match=rf"{name}: cannot be written; .* \.ply, \.las, \.laz, \.npy"
    ):
        write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / name, ADDED, {})
    assert not (tmp_path / name).exists()
    assert {*OUTPUTS} <= {*EXTENSIONS}


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"c": CODES[:-1]}, r"column c must be 37 numbers, .*; got \[36\] of uint8"),
        ({"c": CODES[:, None]}, r"column c must be 37 numbers, .*; got \[37, 1\]"),
        ({"c": np.array(["a"] * NUM)}, "got .* of <U1"),
        ({"c": CODES.astype(complex)}, "complex128"),
        ({"c": CODES.astype(np.longdouble)}, "float128|longdouble"),
        ({"y": CODES}, "a column cannot be named 'y', which is a coordinate"),
        ({"X": CODES}, "a column cannot be named 'X', which is a coordinate"),
        ({"": CODES}, "a column cannot be named '', which is a coordinate or no name"),
    ],
)
@pytest.mark.parametrize("suffix", OUTPUTS)
def test_columns_that_are_none(tmp_path, suffix, added, words):
    WRITERS[".ply"](tmp_path / "a.ply", points())
    with pytest.raises(ValueError, match=rf"b\{suffix}: .*({words})"):
        write_cloud(open_cloud(tmp_path / "a.ply"), tmp_path / f"b{suffix}", {**ADDED, **added}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


@pytest.mark.parametrize("source", [".ply", ".laz", ".npz", ".txt"])
@pytest.mark.parametrize("suffix", OUTPUTS)
class TestWritingThatFails:
    def _fails(self, tmp_path: Path, source: str, suffix: str) -> tuple[Path, Path]:
        path, target = tmp_path / f"a{source}", tmp_path / f"b{suffix}"
        WRITERS[source](path, points())
        target.write_bytes(b"what was there before")
        return path, target

    def test_in_the_middle(self, tmp_path, source, suffix, monkeypatch):
        """Whatever stops it, Ctrl-C too, the old file stays and nothing lies beside it."""
        path, target = self._fails(tmp_path, source, suffix)
        cloud = open_cloud(path)
        for error in (KeyboardInterrupt, MemoryError):
            with monkeypatch.context() as patched, pytest.raises(error):
                patched.setattr(
                    Path, "replace", lambda *args, error=error: (_ for _ in ()).throw(error)
                )
                write_cloud(cloud, target, ADDED, {})
            assert target.read_bytes() == b"what was there before"
            assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{source}", f"b{suffix}"]

    def test_a_full_disk(self, tmp_path, source, suffix):
        """Played by a limit on the size of files, in a process of its own."""
        path, target = self._fails(tmp_path, source, suffix)
        program = (
            "import resource, signal, sys; import numpy as np; from pc3d.io.cloud import *\n"
            "from pc3d.io.clouds import las_writer, npy_writer, ply_writer\n"
            "cloud = open_cloud(sys.argv[1]); codes = np.arange(37, dtype=np.uint8)\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))\n"
            "try: write_cloud(cloud, sys.argv[2], {'classification': codes}, {})\n"
            "except OSError as error: sys.exit(f'{error.errno} {error}')"
        )
        command = [sys.executable, "-B", "-c", program, str(path), str(target)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=100)
        expected = (
            f"{errno.EFBIG} [Errno {errno.EFBIG}] cannot be written: File too large: '{target}'"
        )
        assert result.stderr.strip().splitlines()[-1:] == [expected]
        assert target.read_bytes() == b"what was there before"
        assert len(list(tmp_path.iterdir())) == 2

    def test_a_source_that_got_lost(self, tmp_path, source, suffix):
        path, target = self._fails(tmp_path, source, suffix)
        cloud = open_cloud(path)
        path.unlink()
        if suffix == ".npy":  # reads nothing of it
            write_cloud(cloud, target, ADDED, {})
        elif not (source == ".ply" and suffix != ".ply"):  # mapped, so it is still there
            with pytest.raises(FileNotFoundError, match=rf"a\{source}"):
                write_cloud(cloud, target, ADDED, {})
            assert target.read_bytes() == b"what was there before"


@pytest.mark.parametrize("suffix", OUTPUTS)
def test_folders_that_cannot_be_written(tmp_path, suffix, monkeypatch):
    """Permissions do not stop the superuser; the kernel is played where they matter."""
    WRITERS[".npz"](tmp_path / "a.npz", points())
    cloud = open_cloud(tmp_path / "a.npz")
    (tmp_path / "file").touch()
    target = tmp_path / "file" / f"b{suffix}"
    with pytest.raises(OSError, match=r"cannot be written: File exists \(.*/file\)") as raised:
        write_cloud(cloud, target, ADDED, {})
    assert raised.value.filename == str(target)
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(IsADirectoryError, match="cannot be written: Is a directory") as raised:
        write_cloud(cloud, tmp_path / f"folder{suffix}", ADDED, {})
    assert raised.value.filename == str(tmp_path / f"folder{suffix}")

    def forbid(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbid)
    with pytest.raises(PermissionError, match="cannot be written: Permission denied") as raised:
        write_cloud(cloud, tmp_path / f"b{suffix}", ADDED, {})
    assert raised.value.filename == str(tmp_path / f"b{suffix}")


def _peak(tmp_path: Path, num: int) -> float:
    """Megabytes that a process has in memory at most while it copies a LAZ file."""
    path = tmp_path / "big.laz"
    write_las(path, 7, num=num)
    program = (
        "import re, sys; import numpy as np; from pc3d.io.cloud import *\n"
        "cloud = open_cloud(sys.argv[1]); codes = np.ones(cloud.num_points, np.uint8)\n"
        "write_cloud(cloud, sys.argv[2], {'classification': codes}, {})\n"
        # Not ru_maxrss, which begins with that of the process that started this one.
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "copy.laz")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return int(result.stdout) / 1024


@pytest.mark.slow
def test_large_files_are_copied_in_little_memory(tmp_path):
    small, large = _peak(tmp_path, 1_500_000), _peak(tmp_path, 4_500_000)
    assert large < 450 and large - small < 60


@settings(max_examples=12, deadline=None)
@given(
    num=st.integers(1, 30),
    names=st.lists(st.text(min_size=1, max_size=40), unique=True, max_size=4),
    chain=st.lists(st.sampled_from([".ply", ".las", ".laz"]), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_columns_of_any_name_through_any_formats(tmp_path_factory, num, names, chain, seed):
    """The values come through, in order, whatever the formats make of the names."""
    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(seed)
    xyz = rng.integers(-(10**6), 10**6, (num, 3)) / 1000
    np.savez(folder / "0.npz", xyz=xyz)
    added = {name: rng.normal(size=num) for name in names if name not in {*"xyzXYZ"}}
    path = folder / "0.npz"
    for i, suffix in enumerate(chain):
        target = folder / f"{i + 1}{suffix}"
        write_cloud(open_cloud(path), target, added if i == 0 else {}, {})
        path = target
    columns = list(open_cloud(path).columns)
    found = read_cloud(path, columns)
    np.testing.assert_allclose(found.xyz, xyz, rtol=0, atol=1e-9)
    floats = [
        found.columns[n] for n in columns if n != "gps_time" and found.columns[n].dtype == "f8"
    ]
    expected = [array for name, array in added.items() if name != "gps_time"]
    assert len(floats) == len(expected)
    for array, values in zip(floats, expected, strict=True):
        np.testing.assert_array_equal(array, values)
