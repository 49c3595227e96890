"""The window of open3d, with a stand-in that keeps what it is told."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pc3d.data.specs import SCANNET20
from tests.visualize.rooms import make_room
from tests.visualize.test_scene import three_layers
from visualize.window import open_window

ROOM = make_room(100)


class Window:
    """Presses key 2 once it runs."""

    has_display = True

    def __init__(self) -> None:
        self.keys, self.log = {}, []

    def create_window(self, window_name: str) -> bool:
        self.log.append(window_name)
        return self.has_display

    def register_key_callback(self, key: int, change) -> None:
        self.keys[chr(key)] = change

    def update_geometry(self, cloud) -> None:
        self.log.append(cloud.colors.copy())

    def add_geometry(self, cloud) -> None:
        self.log.append(cloud.points)

    def run(self) -> None:
        self.keys["2"](self)

    def destroy_window(self) -> None:
        self.log.append("closed")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    opened = []

    def make() -> Window:
        opened.append(Window())
        return opened[-1]

    module = SimpleNamespace(
        geometry=SimpleNamespace(PointCloud=SimpleNamespace),
        utility=SimpleNamespace(Vector3dVector=np.array),
        visualization=SimpleNamespace(VisualizerWithKeyCallback=make),
    )
    monkeypatch.setitem(sys.modules, "open3d", module)
    return opened


def test_keys_change_the_layer(windows: list[Window]):
    first = ["prediction", "input"]
    line = open_window("room", ROOM.xyz, three_layers(ROOM), SCANNET20, first)
    assert line == "room: 100 points; keys 1 prediction, 2 input, 3 ground truth"
    title, predicted, points, colors, closed = windows[0].log
    assert (title, closed) == ("room", "closed")
    np.testing.assert_allclose(points - points[0], ROOM.xyz - ROOM.xyz[0], atol=1e-6)
    prediction = three_layers(ROOM)[2].values
    np.testing.assert_allclose(predicted * 255, np.array(SCANNET20.palette)[prediction])
    np.testing.assert_allclose(colors * 255, ROOM.rgb)


def test_errors(windows: list[Window], monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="no layer eror; it has input, ground truth"):
        open_window("room", ROOM.xyz, three_layers(ROOM), SCANNET20, ["eror"])
    monkeypatch.setattr(Window, "has_display", False)
    with pytest.raises(ValueError, match=r"no window can be opened here\. Use viewer=page"):
        open_window("room", ROOM.xyz, three_layers(ROOM), SCANNET20, ["input"])
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ValueError, match=r"pip install pc3d\[open3d\]"):
        open_window("room", ROOM.xyz, three_layers(ROOM), SCANNET20, ["input"])
