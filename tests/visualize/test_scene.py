from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pc3d.data.specs import SCANNET20
from tests.visualize.rooms import CHAIR, DOOR, FLOOR, WALL, Room, make_room
from tests.visualize.test_render import decode_png
from visualize.codes import BlockCodes, CodeView, view_of
from visualize.layers import Layer
from visualize.palette import UNLABELLED_NAME, code_colors
from visualize.scene import write_page, write_picture

ROOM = make_room()


def three_layers(room: Room) -> list[Layer]:
    prediction = np.where(room.labels == CHAIR, DOOR, room.labels.clip(0))
    return [
        Layer("input", room.rgb),
        Layer("ground truth", room.labels),
        Layer("prediction", prediction),
    ]


def two_blocks(room: Room) -> CodeView:
    """A block of two codes in four of the room's quarters, and one of three codes by height."""
    x, y, z = room.xyz.T
    quarter, height = (x > 2).astype(int) ^ (y > 1.5), np.digitize(z, [0.1, 1.0])
    coarse, fine = ("cube, dilation 1", "cross, dilation 3"), ("cube, dilation 2", "", "")
    blocks = [
        BlockCodes("encoder.1.0", 8, coarse, np.array([0.5, 0.5]), quarter),
        BlockCodes("decoder.1.0", 2, fine, np.array([0.0625, 0.3125, 0.625]), height),
    ]
    return view_of(blocks)


def read_scene(path: Path) -> dict[str, Any]:
    """The data of a page, decoded by the rules that its script uses."""
    (text,) = re.findall(r"^const scene = (.*);$", path.read_text(encoding="utf-8"), re.M)
    scene = json.loads(text)

    def decode(key: str, holder: dict[str, Any], dtype: str) -> None:
        if key in holder:
            holder[key] = np.frombuffer(base64.b64decode(holder[key]), dtype=dtype)

    decode("xyz", scene, "<f4")
    scene["xyz"] = scene["xyz"].reshape(-1, 3).astype(np.float64) + scene["origin"]
    for layer in scene["layers"]:
        decode("classes", layer, "<u2")
        decode("rgb", layer, "u1")
        decode("ramp", layer, "u1")
        for block in layer.get("blocks", []):
            decode("codes", block, "u1")
    if scene["grid"] is not None:
        for key in ("indices", "others"):
            decode(key, scene["grid"], "<u4" if scene["grid"]["wide"] else "<u2")
            scene["grid"][key] = scene["grid"][key].reshape(-1, 3).astype(np.int64)
    return scene


def views(scene: dict[str, Any]) -> list[str]:
    """Names of the layers, those that are open at first in capitals."""
    return [layer["name"].upper() if layer["open"] else layer["name"] for layer in scene["layers"]]


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_loads_nothing_from_outside(tmp_path: Path):
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20)
    elements = Elements()
    elements.feed(info.path.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in elements.found]
    assert tags.count("script") == 2  # plotly.js and the scene, both inline
    assert not {"link", "iframe", "img", "object", "base"} & set(tags)
    assert not [attrs for _, attrs in elements.found if "src" in attrs or "href" in attrs]
    style = info.path.read_text(encoding="utf-8").split("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_views_hold_the_points_colours_and_classes(tmp_path: Path):
    layers = three_layers(ROOM)
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, layers, SCANNET20)
    scene = read_scene(info.path)
    np.testing.assert_allclose(scene["xyz"], ROOM.xyz, atol=1e-5)
    assert [layer["name"] for layer in scene["layers"]] == ["input", "ground truth", "prediction"]
    np.testing.assert_array_equal(scene["layers"][0]["rgb"].reshape(-1, 3), ROOM.rgb)
    for layer, shown in zip(layers[1:], scene["layers"][1:], strict=True):
        names = [scene["classes"][k]["name"] for k in shown["classes"]]
        expected = [UNLABELLED_NAME if c < 0 else SCANNET20.class_names[c] for c in layer.values]
        assert names == expected


def test_the_view_of_codes_holds_every_block_with_its_legend(tmp_path: Path):
    codes = two_blocks(ROOM)
    info = write_page(
        tmp_path / "a.html",
        "a",
        ROOM.xyz,
        three_layers(ROOM),
        SCANNET20,
        max_points=300,
        codes=codes,
    )
    scene = read_scene(info.path)
    *_, shown = scene["layers"]
    assert (shown["name"], shown["first"], len(scene["layers"])) == ("chosen code", 1, 4)
    _, rows = cKDTree(ROOM.xyz).query(scene["xyz"])
    for block, found in zip(codes.blocks, shown["blocks"], strict=True):
        np.testing.assert_array_equal(found["codes"], block.codes[rows])
    assert [block["title"] for block in shown["blocks"]] == [
        "encoder.1.0 (stride 8)",
        "decoder.1.0 (stride 2)",
    ]
    assert shown["blocks"][0]["legend"] == [
        {"label": "code 0: cube, dilation 1", "share": "50.0 %", "color": "#e69f00"},
        {"label": "code 1: cross, dilation 3", "share": "50.0 %", "color": "#56b4e9"},
    ]
    legend = shown["blocks"][1]["legend"]
    assert [(entry["label"], entry["share"]) for entry in legend] == [
        ("code 0: cube, dilation 2", "6.2 %"),
        ("code 1", "31.2 %"),
        ("code 2", "62.5 %"),
    ]


def test_without_codes_a_page_is_as_with_them_less_that_view(tmp_path: Path):
    for name, codes in (("with", two_blocks(ROOM)), ("without", None)):
        write_page(
            tmp_path / f"{name}.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20, codes=codes
        )
    without = (tmp_path / "without.html").read_text(encoding="utf-8")
    assert '"chosen code"' not in without and '"blocks"' not in without
    assert '"open": false' not in without
    expected = read_scene(tmp_path / "with.html")
    expected["layers"].pop()
    expected["subtitle"] = read_scene(tmp_path / "without.html")["subtitle"]  # the size of the file
    np.testing.assert_equal(read_scene(tmp_path / "without.html"), expected)


def test_the_legend_lists_the_classes_present_in_their_colours(tmp_path: Path):
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20)
    assert info.classes == ("wall", "floor", "chair", "door", UNLABELLED_NAME)
    classes = {c["name"]: c["color"] for c in read_scene(info.path)["classes"]}
    assert classes == {
        "wall": "#aec7e8",
        "floor": "#98df8a",
        "chair": "#bcbd22",
        "door": "#d62728",
        UNLABELLED_NAME: "#aaaaaa",
    }


def test_page_info_and_subtitle_state_points_size_and_metrics(tmp_path: Path):
    info = write_page(
        tmp_path / "a.html",
        "room 7",
        ROOM.xyz,
        three_layers(ROOM),
        SCANNET20,
        metrics="mIoU of this scene 0.71 (points)",
        max_points=1000,
    )
    scene = read_scene(info.path)
    assert (info.num_points, info.num_shown) == (3000, len(scene["xyz"]))
    assert 900 < info.num_shown <= 1000
    assert info.num_bytes == info.path.stat().st_size
    assert scene["title"] == "room 7"
    first, size, metrics, megabytes = scene["subtitle"].split(" · ")
    assert first == f"{info.num_shown:,} of 3,000 points"
    assert size == "4.0 \u00d7 3.0 \u00d7 2.0 m"
    assert metrics == "mIoU of this scene 0.71 (points)"
    number, unit = megabytes.split()
    assert unit == "MB" and abs(float(number) - info.num_bytes / 1e6) < 0.0501


def test_thinned_points_keep_their_own_colours_and_classes(tmp_path: Path):
    info = write_page(
        tmp_path / "a.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20, max_points=300
    )
    scene = read_scene(info.path)
    distance, rows = cKDTree(ROOM.xyz).query(scene["xyz"])
    assert distance.max() < 1e-5 and len(set(rows)) == len(rows) <= 300
    np.testing.assert_array_equal(scene["layers"][0]["rgb"].reshape(-1, 3), ROOM.rgb[rows])
    labels = [scene["classes"][k]["name"] for k in scene["layers"][1]["classes"]]
    expected = [UNLABELLED_NAME if c < 0 else SCANNET20.class_names[c] for c in ROOM.labels[rows]]
    assert labels == expected


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        write_page(
            tmp_path / f"{name}.html", "a", ROOM.xyz, three_layers(ROOM), SCANNET20, max_points=500
        )
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("chosen", [[0], [1], [2], [0, 2], [1, 2]])
def test_any_subset_of_views(tmp_path: Path, chosen: list[int]):
    layers = [three_layers(ROOM)[i] for i in chosen]
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, layers, SCANNET20)
    scene = read_scene(info.path)
    assert len(scene["layers"]) == len(chosen)
    assert bool(scene["classes"]) == any(layer.is_classes for layer in layers)


def test_ceilings_are_off_at_first_and_other_classes_on(tmp_path: Path):
    spec = SCANNET20
    ceiling = type(spec)("x", ("wall", "ceiling"), ((1, 2, 3), (4, 5, 6)), (0, 1), {0: 0, 1: 1})
    layers = [Layer("ground truth", np.arange(3000) % 2)]
    info = write_page(tmp_path / "a.html", "a", ROOM.xyz, layers, ceiling)
    visible = {c["name"]: c["visible"] for c in read_scene(info.path)["classes"]}
    assert visible == {"wall": True, "ceiling": False}


def test_world_coordinates_keep_millimetres(tmp_path: Path):
    world = ROOM.xyz + np.array([652_000.123, 6_861_000.456, 99.0])
    info = write_page(tmp_path / "a.html", "a", world, [Layer("input", ROOM.rgb)], SCANNET20)
    np.testing.assert_allclose(read_scene(info.path)["xyz"], world, rtol=0, atol=1e-6)


def test_a_title_cannot_end_the_script(tmp_path: Path):
    info = write_page(
        tmp_path / "a.html", "</script><b>/*SCENE*/null", ROOM.xyz, three_layers(ROOM), SCANNET20
    )
    assert read_scene(info.path)["title"] == "</script><b>/*SCENE*/null"
    assert info.path.read_text(encoding="utf-8").count("</script>") == 2


def test_one_point_and_a_flat_cloud_have_a_box(tmp_path: Path):
    for xyz in (np.zeros((1, 3)), ROOM.xyz * np.float32([1, 1, 0])):
        layers = [Layer("input", ROOM.rgb[: len(xyz)])]
        info = write_page(tmp_path / "a.html", "a", xyz, layers, SCANNET20)
        low, high = np.array(read_scene(info.path)["range"]).T
        assert (high > low).all()


def test_errors_say_what_is_wrong_and_leave_the_old_page(tmp_path: Path):
    path = tmp_path / "a.html"
    path.write_text("old")

    def write(xyz: np.ndarray, *layers: Layer) -> None:
        write_page(path, "a", xyz, layers, SCANNET20)

    with pytest.raises(ValueError, match="at least one layer"):
        write(ROOM.xyz)
    with pytest.raises(ValueError, match="'prediction' has 2999 rows but xyz has 3000"):
        write(ROOM.xyz, Layer("prediction", ROOM.labels[1:]))
    with pytest.raises(
        ValueError, match=r"'labels': class indices must be -1\.\.19 .* got -1\.\.40"
    ):
        write(ROOM.xyz, Layer("labels", np.where(ROOM.labels == FLOOR, 40, ROOM.labels)))
    with pytest.raises(ValueError, match=r"encoder\.1\.0 has codes of 2999 points but xyz has 30"):
        codes = two_blocks(make_room(2999))
        write_page(path, "a", ROOM.xyz, three_layers(ROOM), SCANNET20, codes=codes)
    with pytest.raises(ValueError, match="NaN or infinite"):
        write(np.where(ROOM.xyz > 3.9, np.nan, ROOM.xyz), Layer("input", ROOM.rgb))
    with pytest.raises(ValueError, match=r"max_points=300,001: a page holds at most 300,000"):
        layers = three_layers(ROOM)
        write_page(path, "a", ROOM.xyz, layers, SCANNET20, max_points=300_001)
    with pytest.raises(ValueError, match="no layer eror; this scene has input, ground truth, pred"):
        layers = three_layers(ROOM)
        write_page(path, "a", ROOM.xyz, layers, SCANNET20, shown=["input", "eror"])
    with pytest.raises(ValueError, match="different names"):
        write(ROOM.xyz, *three_layers(ROOM), three_layers(ROOM)[0])
    with pytest.raises(ValueError, match=r"uint8 colours or .* integer classes"):
        Layer("input", ROOM.rgb / 255.0)
    with pytest.raises(ValueError, match="integer classes"):
        Layer("probability", np.zeros(3))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_a_picture_shows_every_layer_and_no_ceiling(tmp_path: Path):
    labels = np.full(3000, CHAIR)
    roof = SCANNET20.class_names.index("toilet")
    labels[ROOM.labels == WALL] = roof
    layers = [Layer("ground truth", labels), Layer("prediction", np.full(3000, DOOR))]
    write_picture(tmp_path / "a.png", ROOM.xyz, layers, SCANNET20, hidden=("toilet",))
    image = decode_png((tmp_path / "a.png").read_bytes()).astype(int)
    left, right = image[:, : image.shape[1] // 2], image[:, image.shape[1] // 2 :]

    def has(part: np.ndarray, class_index: int) -> bool:
        return bool((np.abs(part - SCANNET20.palette[class_index]).sum(axis=-1) < 12).any())

    assert has(left, CHAIR) and not has(left, roof) and not has(left, DOOR)
    assert has(right, DOOR) and not has(right, CHAIR)


def test_a_picture_shows_the_codes_of_one_block_in_a_last_panel(tmp_path: Path):
    codes, layers = two_blocks(ROOM), three_layers(ROOM)[:1]
    write_picture(tmp_path / "a.png", ROOM.xyz, layers, SCANNET20, codes=codes)
    image = decode_png((tmp_path / "a.png").read_bytes())
    half = (image.shape[1] - 16) // 2
    write_picture(tmp_path / "b.png", ROOM.xyz, layers, SCANNET20)
    np.testing.assert_array_equal(decode_png((tmp_path / "b.png").read_bytes()), image[:, :half])
    expected = Layer("codes", code_colors(3)[codes.blocks[1].codes])
    write_picture(tmp_path / "c.png", ROOM.xyz, [expected], SCANNET20)
    np.testing.assert_array_equal(decode_png((tmp_path / "c.png").read_bytes()), image[:, -half:])
