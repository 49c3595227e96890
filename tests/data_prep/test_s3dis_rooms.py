"""Generated offices in S3DIS's layout, parsed here from the text alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep import synthetic
from data_prep.rooms import categories as cat
from data_prep.rooms.offices import OFFICE_ROOMS, furnish_office
from data_prep.rooms.s3dis import CLASS_OF_CATEGORY, CLUTTER, room_names, write_room
from data_prep.rooms.scanner import Scan
from data_prep.rooms.shapes import bounds
from data_prep.synthetic import generate_s3dis, main
from data_prep.whole_set import MARKER

CLASSES = ("ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa",
           "bookcase", "board", "clutter")  # fmt: skip
LINE = re.compile(r"-?\d+\.\d{3} -?\d+\.\d{3} -?\d+\.\d{3} \d{1,3} \d{1,3} \d{1,3}")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two of the six areas."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "_NUM_AREAS", 2)
        folder = tmp_path_factory.mktemp("offices") / "set"
        return generate_s3dis(folder, num_rooms=1, num_workers=0)


def _numbers(path: Path) -> np.ndarray:
    return np.array([line.split() for line in path.read_text().splitlines()], dtype=float)


def test_layout(root):
    assert sorted(path.name for path in root.iterdir()) == ["Area_1", "Area_2", MARKER]
    room = root / "Area_1" / "office_1"
    names = sorted(path.name for path in (root / "Area_1").iterdir())
    assert names == ["Area_1_alignmentAngle.txt", "office_1"]
    assert sorted(path.name for path in room.iterdir()) == ["Annotations", "office_1.txt"]
    objects = Counter()
    for path in (room / "Annotations").iterdir():
        name, _, number = path.stem.rpartition("_")
        assert path.suffix == ".txt" and name in CLASSES
        objects[name] += 1
        assert int(number) >= 1
    for name, count in objects.items():  # numbered without gaps
        assert all((room / "Annotations" / f"{name}_{k + 1}.txt").is_file() for k in range(count))
    assert set(objects) >= {"ceiling", "floor", "wall", "beam", "column", "board", "table", "chair"}
    assert objects["wall"] == 4 and objects["table"] == 2
    assert json.loads((root / MARKER).read_text())["kind"] == "s3dis"


def test_points_and_colours(root):
    for path in root.glob("Area_*/*/*.txt"):
        lines = path.read_text().splitlines()
        assert 40_000 < len(lines) < 120_000
        assert all(map(LINE.fullmatch, lines))
        points = _numbers(path)
        assert points[:, 3:].min() >= 0 and points[:, 3:].max() <= 255
        assert np.ptp(points[:, 3:]) > 100
        objects = [_numbers(part) for part in sorted(path.parent.glob("Annotations/*.txt"))]
        whole = Counter(map(tuple, points.tolist()))
        assert whole == Counter(map(tuple, np.concatenate(objects).tolist()))
        extent = np.ptp(points[:, :3], axis=0)
        assert (extent[:2] < 9.0).all() and 2.2 < extent[2] < 2.8


def test_the_ceiling_is_above_everything_and_the_beam_below_it(root):
    part = {p.stem: _numbers(p) for p in (root / "Area_2/office_1/Annotations").iterdir()}
    floor, ceiling = (np.median(part[f"{name}_1"][:, 2]) for name in ("floor", "ceiling"))
    assert abs(floor) < 0.15 and 2.2 < ceiling - floor < 2.45
    top = max(np.quantile(p[:, 2], 0.9) for name, p in part.items() if name != "ceiling_1")
    assert top < ceiling + 0.03
    beam = part["beam_1"][:, 2]
    assert ceiling - 0.25 < beam.min() and len(beam) > 100
    assert np.ptp(part["column_1"][:, 2]) > 1.5
    # The ceiling is seen almost everywhere, not only from afar.
    cells = {name: {tuple(c) for c in np.floor(part[f"{name}_1"][:, :2] / 0.3).tolist()}
             for name in ("ceiling", "floor")}  # fmt: skip
    assert len(cells["ceiling"] & cells["floor"]) > 0.93 * len(cells["floor"])


def test_alignment_angles_turn_rooms_along_the_axes(root):
    """As the field's preprocessing uses them: about the middle, by (2 - angle / 180) pi."""
    for area in ("Area_1", "Area_2"):
        lines = (root / area / f"{area}_alignmentAngle.txt").read_text().splitlines()
        assert all(line.startswith("##") for line in lines[:2]) and area in lines[0]
        room, angle = lines[2].split()
        assert room == "office_1" and len(lines) == 3 and int(angle) % 90
        points = _numbers(root / area / room / f"{room}.txt")[:, :2]
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        turn = (2 - int(angle) / 180) * np.pi
        cos, sin = np.cos(turn), np.sin(turn)
        for path in (root / area / room / "Annotations").glob("wall_*.txt"):
            wall = _numbers(path)[:, :2] - middle
            turned = wall @ np.array([[cos, -sin], [sin, cos]]).T
            spread = np.quantile(turned, (0.1, 0.9), axis=0)
            assert (spread[1] - spread[0]).min() < 0.12
            unturned = np.quantile(wall, (0.1, 0.9), axis=0)
            assert (unturned[1] - unturned[0]).min() > 0.2


def test_rooms_of_an_area_are_apart_and_count_by_type(monkeypatch, tmp_path):
    """Only where rooms are put is looked at; they are not scanned."""
    corners = []
    monkeypatch.setattr(synthetic, "scan", lambda *args, **kwargs: Scan(
        np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), *np.zeros((2, 1), np.int32)
    ))  # fmt: skip
    monkeypatch.setattr(synthetic, "furnish_office", lambda rng, kind: (kind, rng.uniform()))
    monkeypatch.setattr(synthetic, "write_room", lambda folder, room, scan, corner: corners.append(
        (folder.parent.name, folder.name, room, corner)
    ))  # fmt: skip
    generate_s3dis(tmp_path, num_rooms=9, num_workers=0)
    assert len(corners) == 6 * 9
    assert len({room for _, _, room, _ in corners}) == 6 * 9  # all differ
    first = [corner for area, _, _, corner in corners if area == "Area_3"]
    assert (
        min(max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a in first for b in first if a != b) >= 12
    )
    assert len(set(first)) == 9
    names = [name for area, name, _, _ in corners if area == "Area_6"]
    assert names == room_names([kind for _, _, (kind, _), _ in corners[-9:]])
    assert names[:7] == ["office_1", "conferenceRoom_1", "hallway_1", "lounge_1", "storage_1",
                         "pantry_1", "office_2"]  # fmt: skip
    rows = (tmp_path / "Area_4" / "Area_4_alignmentAngle.txt").read_text().splitlines()[2:]
    assert sorted(row.split()[0] for row in rows) == sorted(names)
    # More rooms leave the first ones as they are.
    before = [entry for entry in corners if entry[1] in names[:2]]
    corners.clear()
    generate_s3dis(tmp_path / "two", num_rooms=2, num_workers=0)
    assert corners == before


def test_every_category_has_a_class():
    assert {*CLASS_OF_CATEGORY.values(), CLUTTER} == set(CLASSES)
    assert CLASS_OF_CATEGORY[cat.DESK] == "table" and CLASS_OF_CATEGORY[cat.BOARD] == "board"
    assert cat.BED not in CLASS_OF_CATEGORY and cat.PICTURE not in CLASS_OF_CATEGORY


@pytest.mark.parametrize("kind", list(OFFICE_ROOMS))
def test_offices_have_ceilings_columns_and_beams(kind):
    room = furnish_office(np.random.default_rng(4), kind)
    found = Counter(item.category for item in room.furniture)
    assert found[cat.CEILING] == 1 and found[cat.COLUMN] >= 1 and found[cat.BEAM] >= 1
    slab = next(item for item in room.furniture if item.category == cat.CEILING)
    low, high = bounds([slab])
    assert (low[:2] < 0.01).all() and (high[:2] > room.size[:2] - 0.01).all()
    assert low[2] == pytest.approx(room.size[2])
    for item in (i for i in room.furniture if i.category == cat.BEAM):
        assert bounds([item])[1, 2] == pytest.approx(room.size[2])


def test_lines_are_as_in_the_release(tmp_path):
    room = furnish_office(np.random.default_rng(0), "hallway")
    number = [item.category for item in room.furniture].index(cat.FLOOR)
    points = np.array([[1.23449, -0.5, 0.0]], np.float32)
    color = np.array([[7, 0, 255]], np.uint8)
    one = np.array([number], np.int32)
    write_room(tmp_path / "hallway_3", room, Scan(points, color, one, one), (10.0, -2.0))
    for name in ("hallway_3.txt", "Annotations/floor_1.txt"):
        assert (tmp_path / "hallway_3" / name).read_text() == "11.234 -2.500 0.000 7 0 255\n"


def test_command_line_refuses_bad_numbers(tmp_path, capsys):
    assert main([f"out={tmp_path / 'x'}", "kind=s3dis", "num_rooms=-2"]) == 2
    assert "num_rooms must be at least 0; got -2" in " ".join(capsys.readouterr().err.split())
    assert main([f"out={tmp_path / 'x'}", "kind=s3dis", "num_rooms=0", "num_workers=0"]) == 0
    assert sorted(p.name for p in (tmp_path / "x").glob("Area_*")) == [
        f"Area_{k}" for k in range(1, 7)
    ]
