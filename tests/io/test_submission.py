"""Submissions: what is written, what the benchmarks' servers refuse, and the zip file."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from pc3d.io import nuscenes, semantickitti
from pc3d.io.submission import SubmissionFormat, ids_of_lines, lines_of

LEGAL = (10, 40, 81)
KITTI = semantickitti.SUBMISSION
SCANNET = SubmissionFormat(lambda scene: f"{scene}.txt", lines_of, ids_of_lines, "*.txt")


def test_ids_come_back_from_every_form(tmp_path):
    ids = np.array([1, 16, 9])
    for form, suffix, size in ((KITTI, ".label", 12), (nuscenes.SUBMISSION, ".bin", 3)):
        path = form.write(tmp_path, "11/000000", ids)
        assert path.suffix == suffix
        assert path.stat().st_size == size
        assert form.decode(path.read_bytes()).tolist() == [1, 16, 9]
    path = SCANNET.write(tmp_path, "scene0707_00", ids)
    assert path.read_bytes() == b"1\n16\n9\n"
    assert SCANNET.decode(path.read_bytes()).tolist() == [1, 16, 9]


def test_validation_lists_every_problem(tmp_path):
    expected = {"11/000000": 5, "11/000001": 5, "12/000000": 4, "13/000000": 3, "15/000000": 2}
    for scan, num in expected.items():
        KITTI.write(tmp_path, scan, np.full(num, 40))
    (tmp_path / "description.txt").write_text("not looked at")
    assert KITTI.validate(tmp_path, expected, LEGAL) == 5

    KITTI.write(tmp_path, "11/000000", np.full(4, 40))
    KITTI.write(tmp_path, "11/000001", np.array([40, 40, 252, 0, 10]))
    (tmp_path / "sequences/12/predictions/000000.label").unlink()
    KITTI.write(tmp_path, "14/000000", np.full(3, 40))
    (tmp_path / "sequences/15/predictions/000000.label").write_bytes(b"1234567")
    with pytest.raises(ValueError) as error:
        KITTI.validate(tmp_path, expected, LEGAL)
    message = str(error.value)
    assert "5 problems" in message
    assert "11/predictions/000000.label: 4 predictions, but the scene has 5 points" in message
    assert "11/predictions/000001.label: ids [0, 252] are not legal" in message
    assert "12/predictions/000000.label: missing" in message
    assert "14/predictions/000000.label: not a scene of this split" in message
    assert "15/predictions/000000.label: 7 bytes are not a whole number of 4-byte ids" in message


def test_validation_of_many_problems_shows_the_first_ones(tmp_path):
    with pytest.raises(ValueError, match="30 problems") as error:
        KITTI.validate(tmp_path, {f"11/{i:06d}": 1 for i in range(30)}, LEGAL)
    assert str(error.value).count("missing") == 20


def test_a_line_that_is_no_integer_is_named(tmp_path):
    (tmp_path / "scene0707_00.txt").write_bytes(b"10\nchair\n")
    with pytest.raises(
        ValueError, match=r"scene0707_00\.txt: expected one integer per line.*chair"
    ):
        SCANNET.validate(tmp_path, {"scene0707_00": 2}, LEGAL)


def test_an_id_beyond_64_bits_and_a_folder_are_problems_of_their_files(tmp_path):
    (tmp_path / "scene0707_00.txt").write_bytes(b"10\n" + b"9" * 30)
    (tmp_path / "scene0708_00.txt").mkdir()
    with pytest.raises(ValueError, match="2 problems") as error:
        SCANNET.validate(tmp_path, {"scene0707_00": 2, "scene0708_00": 2}, LEGAL)
    assert "scene0707_00.txt: expected one integer per line" in str(error.value)
    assert "scene0708_00.txt: [Errno 21] Is a directory" in str(error.value)


def test_kitti_zip_has_entries_for_its_folders(tmp_path):
    """The server looks for `sequences/` and so on among the names of the archive."""
    for scan in ("11/000000", "11/000001", "12/000000"):
        KITTI.write(tmp_path / "out", scan, np.full(3, 40))
    (tmp_path / "out" / "notes.txt").write_text("not packed")
    path = KITTI.pack(tmp_path / "out", tmp_path / "out.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            "sequences/",
            "sequences/11/",
            "sequences/11/predictions/",
            "sequences/12/",
            "sequences/12/predictions/",
            "sequences/11/predictions/000000.label",
            "sequences/11/predictions/000001.label",
            "sequences/12/predictions/000000.label",
        ]
        assert archive.getinfo("sequences/11/").is_dir()
        content = archive.read("sequences/12/predictions/000000.label")
    assert KITTI.decode(content).tolist() == [40, 40, 40]


def test_scannet_zip_is_flat(tmp_path):
    SCANNET.write(tmp_path / "out", "scene0707_00", np.array([1, 2]))
    with zipfile.ZipFile(SCANNET.pack(tmp_path / "out", tmp_path / "out.zip")) as archive:
        assert archive.namelist() == ["scene0707_00.txt"]


def test_nuscenes_zip_says_what_the_method_used(tmp_path):
    nuscenes.SUBMISSION.write(tmp_path / "out", "0a1b", np.array([1, 16]))
    path = nuscenes.SUBMISSION.pack(tmp_path / "out", tmp_path / "out.zip")
    with zipfile.ZipFile(path) as archive:
        assert {"lidarseg/test/0a1b_lidarseg.bin", "test/submission.json"} <= set(
            archive.namelist()
        )
        assert json.loads(archive.read("test/submission.json"))["meta"]["use_lidar"] is True
        assert archive.read("lidarseg/test/0a1b_lidarseg.bin") == b"\x01\x10"


def test_a_zip_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    KITTI.write(tmp_path / "out", "11/000000", np.full(3, 40))
    (tmp_path / "out.zip").write_bytes(b"the old one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(OSError, match="No space left"):
        KITTI.pack(tmp_path / "out", tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == b"the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.zip"]


def test_a_zip_that_lost_bytes_is_refused(tmp_path, monkeypatch):
    KITTI.write(tmp_path / "out", "11/000000", np.full(3, 40))
    write = zipfile.ZipFile.writestr

    def skip_folders(archive, name, data, *args):
        if not isinstance(name, zipfile.ZipInfo):
            write(archive, name, data, *args)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", skip_folders)
    with pytest.raises(ValueError, match=r"read back is not what was written.*sequences/"):
        KITTI.pack(tmp_path / "out", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
