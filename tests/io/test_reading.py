"""What is wrong with a file is said in one error that names it, whatever reads it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pc3d.io import nuscenes, scannet, semantickitti
from pc3d.io.arrays import read_array
from pc3d.io.mesh import read_triangles
from pc3d.io.ply import count_vertices, read_vertices
from pc3d.io.reading import file_size, read_bytes, read_json, read_text, reading
from pc3d.io.s3dis import count_points, read_alignment_angles, read_points
from tests.data.fixtures import write_nuscenes

READERS: dict[str, Callable[[Path], object]] = {
    "array": read_array,
    "vertices": read_vertices,
    "number of vertices": count_vertices,
    "triangles": read_triangles,
    "label table": scannet.read_label_table,
    "segments": lambda path: scannet.read_segments(path, 3),
    "aggregation": lambda path: scannet.read_aggregation(path, "scene0000_00"),
    "alignment": scannet.read_axis_alignment,
    "room": read_points,
    "number of points": count_points,
    "angles": read_alignment_angles,
    "scan": semantickitti.read_scan,
    "size of a scan": semantickitti.num_scan_points,
    "labels": lambda path: semantickitti.read_labels(path, 3),
    "sweep": nuscenes.read_scan,
    "sweep labels": lambda path: nuscenes.read_labels(path, 3),
    "table": nuscenes.read_table,
}
EMPTY_IS_LEGAL = {"alignment", "number of points", "angles", "scan", "size of a scan", "sweep"}


@pytest.fixture(params=READERS)
def reader(request) -> Callable[[Path], object]:
    return READERS[request.param]


def test_a_missing_file(reader, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing_here"):
        reader(tmp_path / "nothing_here")


def test_a_folder_in_place_of_a_file(reader, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder: cannot be read: Is a directory"):
        reader(tmp_path / "folder")


def test_a_link_that_leads_to_itself(reader, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match=r"loop: cannot be read: .*symbolic links"):
        reader(tmp_path / "loop")


def test_a_file_in_place_of_a_folder(reader, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/inside: cannot be read: Not a directory"):
        reader(tmp_path / "file" / "inside")


def test_a_forbidden_file(reader, tmp_path, monkeypatch):
    """Permissions do not stop the superuser, who runs tests in containers; the kernel is played."""
    path = tmp_path / "secret"
    path.touch()
    real = Path.open

    def forbid(self, *args, **kwargs):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", forbid)
    with pytest.raises(PermissionError, match="secret"):
        reader(path)


@pytest.mark.parametrize("name", sorted(READERS.keys() - EMPTY_IS_LEGAL))
def test_an_empty_file(name, tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="/empty"):
        READERS[name](tmp_path / "empty")


@pytest.mark.parametrize("table", ["scene", "sample", "sample_data", "lidarseg"])
@pytest.mark.parametrize("content", [b"", b"[", b'{"token": 1}', b"[1]", b"\xff\xfe\x00"])
def test_damaged_tables(tmp_path, table, content):
    write_nuscenes(tmp_path, "v1.0-mini", {"scene-0061": 2}, labels=np.zeros(40))
    (tmp_path / "v1.0-mini" / f"{table}.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"v1\.0-mini/{table}\.json"):
        nuscenes.read_sweeps(tmp_path / "v1.0-mini")


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), KeyError("x"), IndexError("1"), EOFError()]
)
def test_what_parsers_trip_over_becomes_one_kind_of_error(error):
    words = r"a\.json: damaged or truncated \(.+\)"
    with pytest.raises(ValueError, match=words) as raised, reading("a.json"):
        raise error
    assert raised.value.__cause__ is error


def test_interrupts_pass():
    with pytest.raises(KeyboardInterrupt), reading("a.json"):
        raise KeyboardInterrupt


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffGrün\r\n".encode())
    (tmp_path / "b").write_bytes(b"caf\xe9")
    assert read_text(tmp_path / "a") == "Grün\r\n"
    assert read_text(tmp_path / "b") == "caf\ufffd"
    assert read_bytes(tmp_path / "b") == b"caf\xe9"
    assert file_size(tmp_path / "b") == 4


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b'{"a": \x00}', b"[1, 2"])
def test_json_that_breaks_parsers(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json: damaged"):
        read_json(tmp_path / "a.json")
