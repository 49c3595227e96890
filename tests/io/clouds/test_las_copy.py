"""Copies of LAS and LAZ files: what laspy and the bytes themselves say about them."""

from __future__ import annotations

import struct
from pathlib import Path

import laspy
import numpy as np
import pytest
from laspy.vlrs.vlrlist import VLRList

from pc3d.io.cloud import open_cloud, write_cloud
from tests.io.clouds.samples import NUM, write_las
from tests.io.clouds.test_las_read import VERSIONS

RNG = np.random.default_rng(9)
CODES = RNG.integers(0, 32, NUM)
HIGH_CODES = np.where(np.arange(NUM) % 5 == 0, 64, CODES)
CONFIDENCE = RNG.random(NUM).astype(np.float32)


def copy(path: Path, target: str, added: dict, legend: dict | None = None) -> laspy.LasData:
    write_cloud(open_cloud(path), path.parent / target, added, legend or {})
    return laspy.read(path.parent / target)


def assert_same(
    found: laspy.LasData, expected: laspy.LasData, *, but: tuple[str, ...] = ()
) -> None:
    """Every raw number of every dimension, and where the points are."""
    for name in expected.point_format.dimension_names:
        if name not in but:
            dimension = expected.point_format.dimension_by_name(name)
            a, b = (
                las.points.array if not dimension.is_standard else las for las in (found, expected)
            )
            np.testing.assert_array_equal(np.array(a[name]), np.array(b[name]), name)
    assert (found.header.scales == expected.header.scales).all()
    assert (found.header.offsets == expected.header.offsets).all()


def head(path: Path, start: int, stop: int) -> bytes:
    return path.read_bytes()[start:stop]


@pytest.mark.parametrize("target", ["b.las", "b.laz"])
@pytest.mark.parametrize("source", ["a.las", "a.laz"])
@pytest.mark.parametrize("point_format", VERSIONS)
def test_every_point_format(tmp_path, point_format, source, target):
    path = tmp_path / source
    write_las(path, point_format, VERSIONS[point_format])
    if point_format >= 9 and target == "b.laz":
        with pytest.raises(ValueError, match=rf"b\.laz: point format {point_format} has waveforms"):
            copy(path, target, {"classification": CODES})
        assert not (tmp_path / target).exists()
        return
    expected = laspy.read(path)
    found = copy(path, target, {"classification": CODES, "confidence": CONFIDENCE})
    assert_same(found, expected, but=("classification",))
    assert np.array(found.classification).tolist() == CODES.tolist()
    np.testing.assert_array_equal(found["confidence"], CONFIDENCE)
    assert found["confidence"].dtype == np.float32
    assert found.header.version == expected.header.version
    assert found.point_format.id == point_format
    assert found.header.are_points_compressed == (target == "b.laz")
    # The header but for where things are: ids, dates, texts, counts, scales, bounds.
    for start, stop in ((4, 94), (107, 227)):
        assert head(tmp_path / target, start, stop) == head(path, start, stop)
    if VERSIONS[point_format] == "1.4":
        assert head(tmp_path / target, 247, 375) == head(path, 247, 375)
        assert [v.record_data_bytes() for v in found.evlrs] == [bytes(range(200)) * 500]
        assert found.evlrs[0].description == "behind the points"
    assert [v.record_data_bytes() for v in found.vlrs.get_by_id("a user id")] == [
        b"\x01\x02\x00\xff"
    ]


@pytest.mark.parametrize("target", ["b.las", "b.laz"])
@pytest.mark.parametrize("point_format", range(4))
def test_classes_over_31_take_a_larger_format(tmp_path, point_format, target):
    path = tmp_path / "a.las"
    expected = write_las(path, point_format, VERSIONS[point_format])
    remarks = write_cloud(
        open_cloud(path), tmp_path / target, {"classification": HIGH_CODES}, {64: "wire"}
    )
    found = laspy.read(tmp_path / target)
    larger = {0: 6, 1: 6, 2: 7, 3: 7}[point_format]
    assert remarks == (
        f"point format {point_format} holds classes up to 31, but there is a class 64; it becomes "
        f"format {larger} of LAS 1.4",
    )
    assert (found.point_format.id, str(found.header.version)) == (larger, "1.4")
    assert_same(found, expected, but=("classification", "scan_angle_rank"))
    assert np.array(found.classification).tolist() == HIGH_CODES.tolist()
    for flag in (
        "synthetic",
        "key_point",
        "withheld",
        "edge_of_flight_line",
        "scan_direction_flag",
    ):
        assert 0 < np.array(found[flag]).sum() < NUM
    angles = np.array(expected["scan_angle_rank"])
    assert np.abs(np.array(found["scan_angle"]) * 0.006 - angles).max() <= 0.003
    assert not np.array(found.overlap).any() and not np.array(found.scanner_channel).any()
    assert found.header.global_encoding.gps_time_type == laspy.header.GpsTimeType.STANDARD
    assert head(tmp_path / target, 107, 131) == bytes(24)  # the old counts, not of these formats
    assert found.header.point_count == NUM
    for start, stop in ((4, 24), (26, 94), (131, 227)):
        assert head(tmp_path / target, start, stop) == head(path, start, stop)
    assert (
        found.header.number_of_points_by_return[0] == (np.array(expected.return_number) == 1).sum()
    )


def test_waveforms_move_with_a_larger_format(tmp_path):
    """Format 5 of LAS 1.3 has its waveforms behind the points, and tells so in another place."""
    path = tmp_path / "a.las"
    expected = write_las(path, 5, "1.3")
    waves = b"\0\0" + struct.pack("<16sHQ32s", b"LASF_Spec", 65535, 70, b"waves") + bytes(range(70))
    content = bytearray(path.read_bytes())
    content[6] |= 2
    content[227:235] = len(content).to_bytes(8, "little")
    path.write_bytes(bytes(content) + waves)
    for added, version in ((CODES, 3), (HIGH_CODES, 4)):
        found = copy(path, "b.las", {"classification": added, "confidence": CONFIDENCE})
        assert_same(found, expected, but=("classification", "scan_angle_rank"))
        written = (tmp_path / "b.las").read_bytes()
        assert written[25] == version
        start = int.from_bytes(written[227:235], "little")
        assert written[start:] == waves
        if version == 4:
            assert found.point_format.id == 10
            assert int.from_bytes(written[235:243], "little") == start
            assert written[243:247] == b"\x01\0\0\0"


def test_geotiff_keys_are_kept_and_remarked(tmp_path):
    path = tmp_path / "a.las"
    header = laspy.LasHeader(version="1.2", point_format=1)
    keys = struct.pack("<8H", 1, 1, 0, 1, 3072, 0, 1, 2154)
    header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "keys", keys))
    las = laspy.LasData(header)
    las.X = np.arange(NUM)
    las.write(path)
    remarks = write_cloud(open_cloud(path), tmp_path / "b.las", {"classification": HIGH_CODES}, {})
    assert "stays described by GeoTIFF keys" in remarks[1]
    records = laspy.read(tmp_path / "b.las").vlrs.get("GeoKeyDirectoryVlr")
    assert [r.record_data_bytes() for r in records] == [keys]
    assert write_cloud(open_cloud(path), tmp_path / "b.las", {"classification": CODES}, {}) == ()


@pytest.mark.parametrize("codes", [[-1], [256], [0.5], [np.nan], [np.inf]])
def test_classes_that_are_no_codes(tmp_path, codes):
    write_las(tmp_path / "a.las")
    added = np.resize(np.array(codes), NUM)
    with pytest.raises(ValueError, match=r"a\.las: classification must be whole numbers from 0 to"):
        copy(tmp_path / "a.las", "b.las", {"classification": added})
    assert [p.name for p in tmp_path.iterdir()] == ["a.las"]


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8"])
def test_codes_in_any_type(tmp_path, dtype):
    write_las(tmp_path / "a.las")
    codes = np.resize(np.array([255, 0, 2]), NUM)
    found = copy(tmp_path / "a.las", "b.las", {"classification": codes.astype(dtype)})
    assert np.array(found.classification).tolist() == codes.tolist()


def test_the_legend(tmp_path):
    path = tmp_path / "a.las"
    write_las(path)
    names = {2: "ground", 5: "high vegetation", 0: "x" * 40, 255: "Übergrößenträger", 300: "none"}
    for _ in range(2):  # the second copy replaces the record
        found = copy(path, "b.las", {"classification": CODES}, names)
        (record,) = found.vlrs.get_by_id("LASF_Spec", (0,))
        content = (tmp_path / "b.las").read_bytes()
        data = content[content.index(b"\x02ground") - 32 :][:4096]
        entries = dict(struct.iter_unpack("B15s", data))
        assert list(entries) == list(range(256))
        texts = {code: text.rstrip(b"\0").decode() for code, text in entries.items()}
        assert texts[2] == "ground" and texts[5] == "high vegetation" and texts[0] == "x" * 15
        assert texts[255] == "Übergrößentr"
        assert sum(bool(text) for text in texts.values()) == 4
        assert record[2] == "ground"
        path = (tmp_path / "b.las").rename(tmp_path / "c.las")
    found = copy(path, "d.las", {"classification": CODES})  # without a legend, it stays
    assert len(found.vlrs.get_by_id("LASF_Spec", (0,))) == 1
    assert data in (tmp_path / "d.las").read_bytes()


def _with_extra_dimensions(path: Path) -> laspy.LasData:
    las = laspy.create(point_format=6, file_version="1.4")
    las.header.scales = [0.01, 0.02, 0.03]
    las.add_extra_dims([
        laspy.ExtraBytesParams("height", "i4", "over ground", offsets=[100.0], scales=[0.1],
                               no_data=[-999]),
        laspy.ExtraBytesParams("normal", "3f4"),
        laspy.ExtraBytesParams("confidence", "u1", "of before"),
        laspy.ExtraBytesParams("bytes", "7u1"),
    ])  # fmt: skip
    las.X = RNG.integers(-(2**31), 2**31, NUM)
    las["height"] = 100 + RNG.integers(-1000, 1000, NUM) / 10
    las["normal"] = RNG.normal(size=(NUM, 3))
    las["confidence"] = RNG.integers(0, 256, NUM)
    las["bytes"] = RNG.integers(0, 256, (NUM, 7))
    las.write(path)
    return laspy.read(path)


def _descriptions(path: Path) -> list[bytes]:
    """The 192 bytes for each extra dimension, as they stand in the file."""
    content = path.read_bytes()
    place = int.from_bytes(content[94:96], "little")
    for _ in range(int.from_bytes(content[100:104], "little")):
        length = int.from_bytes(content[place + 20 : place + 22], "little")
        if content[place + 2 : place + 11] == b"LASF_Spec" and content[place + 18] == 4:
            data = content[place + 54 : place + 54 + length]
            return [data[i : i + 192] for i in range(0, length, 192)]
        place += 54 + length
    return []


@pytest.mark.parametrize("target", ["b.las", "b.laz"])
def test_extra_dimensions_stay_byte_for_byte(tmp_path, target):
    path = tmp_path / "a.laz"
    expected = _with_extra_dimensions(path)
    added = {"classification": CODES, "class_2": CODES.astype(np.int64), "is_sure": CODES > 9}
    found = copy(path, target, added)
    assert_same(found, expected, but=("classification",))
    old, new = _descriptions(path), _descriptions(tmp_path / target)
    assert new[:4] == old and len(new) == 6
    assert [d[2:4] for d in new[4:]] == [b"\x08\0", b"\x01\0"]  # int64, uint8
    assert found["class_2"].tolist() == CODES.tolist() and found["class_2"].dtype == np.int64
    assert found["is_sure"].tolist() == (CODES > 9).tolist()
    assert found["height"][3] == expected["height"][3]


def test_an_extra_dimension_of_the_same_name_is_replaced(tmp_path):
    path = tmp_path / "a.las"
    expected = _with_extra_dimensions(path)
    values = CONFIDENCE.copy()
    values[5] = np.nan
    found = copy(path, "b.laz", {"confidence": values, "height": CODES})
    names = list(expected.point_format.extra_dimension_names)
    assert list(found.point_format.extra_dimension_names) == names
    assert_same(found, expected, but=("confidence", "height"))
    np.testing.assert_array_equal(found["confidence"], values)
    assert found["height"].tolist() == CODES.tolist()
    old, new = _descriptions(path), _descriptions(tmp_path / "b.laz")
    assert (new[1], new[3]) == (old[1], old[3])


def test_a_file_labelled_twice_looks_as_if_it_was_labelled_once(tmp_path):
    write_las(tmp_path / "a.laz")
    added = {"classification": CODES, "confidence": CONFIDENCE}
    copy(tmp_path / "a.laz", "b.laz", {**added, "classification": CODES[::-1]}, {2: "old"})
    copy(tmp_path / "b.laz", "c.laz", added, {1: "new"})
    copy(tmp_path / "a.laz", "d.laz", added, {1: "new"})
    assert (tmp_path / "c.laz").read_bytes() == (tmp_path / "d.laz").read_bytes()


def test_bytes_that_nothing_describes_are_described(tmp_path):
    _with_extra_dimensions(tmp_path / "a.las")
    content = (tmp_path / "a.las").read_bytes()
    (tmp_path / "a.las").write_bytes(content.replace(b"LASF_Spec", b"LASF_Spac", 1))
    expected = laspy.read(tmp_path / "a.las")
    found = copy(tmp_path / "a.las", "b.las", {"confidence": CONFIDENCE})
    for i in range(24):
        np.testing.assert_array_equal(found[f"ExtraBytes_{i}"], expected["ExtraBytes"][:, i])
    np.testing.assert_array_equal(found["confidence"], CONFIDENCE)
    kinds = [description[2:4] for description in _descriptions(tmp_path / "b.las")]
    assert kinds == [b"\x01\0"] * 24 + [b"\x09\0"]
    again = copy(tmp_path / "a.las", "c.las", {"classification": CODES})
    assert _descriptions(tmp_path / "c.las") == []
    np.testing.assert_array_equal(again["ExtraBytes"], expected["ExtraBytes"])


def test_dimensions_of_the_standard_are_replaced_where_they_hold_the_values(tmp_path):
    path = tmp_path / "a.las"
    expected = write_las(path, 7)
    times = RNG.normal(size=NUM)
    added = {
        "intensity": CODES.astype(np.float64), "withheld": CODES % 2 == 1, "gps_time": times,
        "user_data": CODES + 250, "red": CONFIDENCE, "return_number": CODES, "scan_angle": -CODES,
    }  # fmt: skip
    remarks = write_cloud(open_cloud(path), tmp_path / "b.las", added, {})
    found = laspy.read(tmp_path / "b.las")
    assert remarks == tuple(
        f"the column {n!r} is the extra dimension '{n}_1'"
        for n in ("user_data", "red", "return_number")
    )
    assert_same(found, expected, but=("intensity", "withheld", "gps_time", "scan_angle"))
    assert found.intensity.tolist() == CODES.tolist() and found.gps_time.tolist() == times.tolist()
    assert np.array(found.withheld).tolist() == (CODES % 2).tolist()
    assert found.scan_angle.tolist() == (-CODES).tolist()
    assert found["user_data_1"].tolist() == (CODES + 250).tolist()
    assert found["red_1"].tolist() == CONFIDENCE.tolist()
    assert found["return_number_1"].tolist() == CODES.tolist()


def test_names_that_las_cannot_hold(tmp_path):
    write_las(tmp_path / "a.las")
    long = "probability of being a low vegetation point"
    added = {long: CODES, long + "!": CODES + 1, "bit_fields": CODES + 2, "é" * 16 + "a": CODES + 3}
    added[":dev/0"] = CODES + 4
    remarks = write_cloud(open_cloud(tmp_path / "a.las"), tmp_path / "b.las", added, {})
    found = laspy.read(tmp_path / "b.las")
    names = list(found.point_format.extra_dimension_names)
    assert names == [long[:32], long[:30] + "_1", "bit_fields_1", "é" * 16, ":dev/0"]
    assert [found[name][0] - CODES[0] for name in names] == [0, 1, 2, 3, 4]
    assert remarks[1] == f"the column {long + '!'!r} is the extra dimension {names[1]!r}"
    assert list(open_cloud(tmp_path / "b.las").columns)[-5:] == names
    again = copy(tmp_path / "b.las", "c.laz", {"é" * 16: CODES + 5})
    assert [again[name][0] - CODES[0] for name in names] == [0, 1, 2, 5, 4]


def test_too_many_dimensions(tmp_path):
    write_las(tmp_path / "a.las")
    added = {f"c{i}": CODES.astype(np.uint8) for i in range(342)}
    with pytest.raises(ValueError, match=r"a\.las: 342 columns .* more than LAS can have \(341\)"):
        copy(tmp_path / "a.las", "b.las", added)
    del added["c0"]
    assert copy(tmp_path / "a.las", "b.laz", added)["c341"].tolist() == CODES.tolist()


def test_the_index_of_copc_is_left_out(tmp_path):
    path = tmp_path / "a.copc.laz"
    las = write_las(path, 6)
    las.header.vlrs.insert(0, laspy.VLR("copc", 1, "copc info", bytes(160)))
    las.evlrs = VLRList([laspy.VLR("copc", 1000, "hierarchy", bytes(32)), *las.evlrs])
    las.write(path)
    remarks = write_cloud(open_cloud(path), tmp_path / "b.laz", {"classification": CODES}, {})
    assert remarks == ("the COPC index does not hold for the copy, and is left out",)
    found = laspy.read(tmp_path / "b.laz")
    assert [r.user_id for r in found.vlrs] == ["a user id"]
    assert [r.user_id for r in found.evlrs] == ["behind"]
    assert_same(found, las, but=("classification",))


def test_what_laspy_would_change_in_a_header(tmp_path):
    """No date, old counts in 1.4, bounds, texts that are no ASCII, long descriptions."""
    path = tmp_path / "a.las"
    write_las(path, 3, "1.4")
    content = bytearray(path.read_bytes())
    content[26:58] = b"sch\xf6n".ljust(32, b"\xff")
    content[90:94] = bytes(4)
    content[107:131] = bytes(range(24))
    content[179:187] = struct.pack("<d", 1e7)
    start = content.index(b"a user id")
    content[start - 2 : start] = b"\xaa\xbb"
    content[start : start + 16] = b"sixteen letters!"
    content[start + 20 : start + 52] = b"d" * 32
    path.write_bytes(content)
    copy(path, "b.laz", {"confidence": CONFIDENCE})
    written = (tmp_path / "b.laz").read_bytes()
    assert written[4:94] == content[4:94] and written[107:235] == content[107:235]
    assert written[375 : 375 + 58] == content[375 : 375 + 58]


def test_las_1_0_becomes_1_2(tmp_path):
    path = tmp_path / "a.las"
    expected = write_las(path, 1, "1.2")
    content = bytearray(path.read_bytes())
    content[25] = 0
    path.write_bytes(content)
    found = copy(path, "b.laz", {"classification": CODES})
    assert str(found.header.version) == "1.2"
    assert_same(found, expected, but=("classification",))


def test_points_in_blocks(tmp_path, monkeypatch):
    """Several blocks are joined in order, also where they do not end with a chunk of LASzip."""
    monkeypatch.setattr("pc3d.io.clouds.las.CHUNK", 7)
    monkeypatch.setattr("pc3d.io.clouds.las.LasCloud.records.__defaults__", (7,))
    path = tmp_path / "a.laz"
    expected = write_las(path, 7)
    found = copy(path, "b.laz", {"classification": CODES, "confidence": CONFIDENCE})
    assert_same(found, expected, but=("classification",))
    assert np.array(found.classification).tolist() == CODES.tolist()
    assert found["confidence"].tolist() == CONFIDENCE.tolist()
