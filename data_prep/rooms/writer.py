"""Scans in ScanNet's raw layout: mesh, labels, over-segmentation, aggregation, scan facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.rooms.layout import Room
from data_prep.rooms.scanner import Scan
from pc3d.io.ply import write_vertices

_IDENTITY = " ".join(str(float(i == j)) for i in range(4) for j in range(4))


def write_scene(folder: Path, room: Room, scan: Scan) -> None:
    """Write the five files of a scene; the folder's name is the scene's name.

    Args:
        folder: `.../sceneXXXX_YY`, made if it is missing.
        room: the objects that `scan.instance` counts.
        scan: the points.
    """
    name = folder.name
    folder.mkdir(parents=True, exist_ok=True)
    nyu40 = np.array([item.category.nyu40 for item in room.furniture], dtype=np.uint16)
    vertices: dict[str, NDArray[Any]] = {axis: scan.xyz[:, k] for k, axis in enumerate("xyz")}
    vertices |= {channel: scan.color[:, k] for k, channel in enumerate(("red", "green", "blue"))}
    vertices["alpha"] = np.full(len(scan.xyz), 255, dtype=np.uint8)
    faces = np.empty((0, 3), dtype=np.int32)  # a point cloud; readers of meshes find the element
    write_vertices(folder / f"{name}_vh_clean_2.ply", vertices, faces)
    vertices["label"] = nyu40[scan.instance]
    write_vertices(folder / f"{name}_vh_clean_2.labels.ply", vertices, faces)
    segments = {"sceneId": name, "segIndices": scan.segment.tolist()}
    _write_json(folder / f"{name}_vh_clean_2.0.010000.segs.json", segments)
    _write_json(folder / f"{name}.aggregation.json", _aggregation(name, room, scan))
    facts = {
        "axisAlignment": _IDENTITY,
        "numDepthFrames": 0,
        "sceneType": "Synthetic",
    }
    text = "".join(f"{key} = {value}\n" for key, value in facts.items())
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def _aggregation(name: str, room: Room, scan: Scan) -> dict[str, Any]:
    # A segment belongs to one object, so the object of its first vertex is that of all.
    segments, first = np.unique(scan.segment, return_index=True)
    owner = scan.instance[first]
    groups: list[dict[str, Any]] = []
    for instance in np.unique(owner).tolist():
        category = room.furniture[instance].category
        if category.nyu40 == 0:
            continue
        number = len(groups)
        members = segments[owner == instance].tolist()
        groups.append(
            {"id": number, "objectId": number, "segments": members, "label": category.name}
        )
    return {
        "sceneId": f"scannet.{name}",
        "segGroups": groups,
        "segmentsFile": f"scannet.{name}_vh_clean_2.0.010000.segs.json",
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
