"""Released files of ScanNet, S3DIS and nuScenes, exact in format and tiny."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pc3d.io.ply import write_vertices

CATEGORIES = (
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child",
    "human.pedestrian.construction_worker", "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer", "human.pedestrian.stroller",
    "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris",
    "movable_object.pushable_pullable", "movable_object.trafficcone",
    "static_object.bicycle_rack", "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid",
    "vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance",
    "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck",
    "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade",
    "static.other", "static.vegetation", "vehicle.ego",
)  # fmt: skip
"""Of nuScenes-lidarseg, in the order of the released `category.json`."""

TSV_COLUMNS = (
    "id", "raw_category", "category", "count", "nyu40id", "eigen13id", "nyuClass", "nyu40class",
    "eigen13class", "ModelNet40", "ModelNet10", "ShapeNetCore55", "synsetoffset", "wnsynsetid",
    "wnsynsetkey", "mpcat40", "mpcat40index",
)  # fmt: skip
TSV_ROWS = (
    {"id": 1, "raw_category": "wall", "nyu40id": 1},
    {"id": 2, "raw_category": "chair", "nyu40id": 5},
    {"id": 10, "raw_category": "office chair", "nyu40id": 5},
    {"id": 22, "raw_category": "book", "nyu40id": 23},
    {"id": 6, "raw_category": "couch", "nyu40id": 6},
    {"id": 1191, "raw_category": "mattress", "nyu40id": 4},
    {"id": 20, "raw_category": "backdoor", "nyu40id": 8},
    {"id": 1357, "raw_category": "sofa bed", "nyu40id": ""},
)


def tsv(
    rows: Sequence[Mapping[str, object]] = TSV_ROWS,
    columns: Sequence[str] = TSV_COLUMNS,
    line_end: str = "\r\n",
) -> bytes:
    """A label table; what a row does not say stays empty."""
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row.get(c, "")) for c in columns) for row in rows]
    return (line_end.join(lines) + line_end).encode()


def write_mesh(path: Path, xyz: np.ndarray, faces: np.ndarray | None = None, **more) -> None:
    """`_vh_clean_2.ply`, colours counting up so that channels and rows differ."""
    vertices = {axis: xyz[:, i].astype(np.float32) for i, axis in enumerate("xyz")}
    count = np.arange(len(xyz))
    for shift, channel in enumerate(("red", "green", "blue", "alpha")):
        vertices[channel] = ((count + 60 * shift) % 256).astype(np.uint8)
    write_vertices(path, {**vertices, **more}, faces)


def write_annotated_scene(
    root: Path,
    scene: str,
    segments: Sequence[int],
    objects: Sequence[tuple[str, Sequence[int]]],
    scene_id: str | None = None,
    kind: str = "scans",
) -> Path:
    """A ScanNet scan with mesh, over-segmentation and aggregation; returns its folder.

    Args:
        root: of the data set.
        scene: name.
        segments: segment of every vertex.
        objects: raw category and segments of each.
        scene_id: in the aggregation; None is `scannet.<scene>`.
        kind: `scans` or `scans_test`.
    """
    folder = root / kind / scene
    num = len(segments)
    xyz = np.random.default_rng(num).random((num, 3)) * [3, 2, 1]
    faces = np.stack([np.arange(num - 2), np.arange(1, num - 1), np.arange(2, num)], axis=1)
    write_mesh(folder / f"{scene}_vh_clean_2.ply", xyz, faces)
    groups = [
        {"id": n, "objectId": n, "segments": list(ids), "label": label}
        for n, (label, ids) in enumerate(objects)
    ]
    aggregation = {
        "sceneId": f"scannet.{scene}" if scene_id is None else scene_id,
        "appId": "Aggregator.v2",
        "segGroups": groups,
        "segmentsFile": f"scannet.{scene}_vh_clean_2.0.010000.segs.json",
    }
    segs = {
        "params": {"kThresh": "0.0001", "segMinVerts": "20"},
        "sceneId": scene,
        "segIndices": [int(s) for s in segments],
    }
    write_json(folder / f"{scene}.aggregation.json", aggregation)
    write_json(folder / f"{scene}_vh_clean_2.0.010000.segs.json", segs)
    return folder


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=0))


def s3dis_lines(points: np.ndarray) -> bytes:
    """Six numbers a line, as the release writes them."""
    return b"".join(
        b"%.3f %.3f %.3f %.6f %.6f %.6f\n" % tuple(float(v) for v in row) for row in points
    )


def write_room(root: Path, scene: str, objects: Mapping[str, np.ndarray | bytes]) -> Path:
    """An S3DIS room of objects by name (`chair_1`); returns the folder `Annotations`."""
    folder = root / scene / "Annotations"
    folder.mkdir(parents=True, exist_ok=True)
    contents = [v if isinstance(v, bytes) else s3dis_lines(v) for v in objects.values()]
    for name, content in zip(objects, contents, strict=True):
        (folder / f"{name}.txt").write_bytes(content)
    room = folder.parent
    (room / f"{room.name}.txt").write_bytes(b"".join(contents))
    return folder


def write_nuscenes(
    root: Path,
    version: str,
    drives: Mapping[str, int],
    categories: Sequence[str] | None = CATEGORIES,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> list[str]:
    """Tables, sweeps and labels of nuScenes; returns the tokens of the LiDAR keyframes.

    Args:
        root: of the data set.
        version: name of the folder of tables.
        drives: from name to number of keyframes; every one also has a sweep and an image.
        categories: in the order of their ids; None writes the table of nuScenes without lidarseg.
        points: [P, 5], or None for random ones.
        labels: [P] ids, or None for a release without labels.
    """
    tables: dict[str, list[dict]] = {n: [] for n in ("scene", "sample", "sample_data", "lidarseg")}
    tokens = []
    for number, (name, num_frames) in enumerate(drives.items()):
        drive = f"{version}-drive{number}"
        tables["scene"].append(
            {"token": drive, "log_token": "log", "nbr_samples": num_frames, "name": name}
            | {"description": "Parked {trucks}, rain"}
        )
        for frame in reversed(range(num_frames)):  # the release is in no order
            sample = f"{version}-{number}-{frame}"
            stamp = 1532402927647951 + 500_000 * frame
            links = {"prev": "", "next": "", "scene_token": drive}
            tables["sample"].append({"token": sample, "timestamp": stamp, **links})
            rows = _sensor_rows(sample, stamp)
            tables["sample_data"] += rows
            token, path = rows[1]["token"], rows[1]["filename"]
            tokens.append(token)
            rng = np.random.default_rng(len(tokens))
            scan = rng.random((40, 5)) * [9, 8, 7, 255, 31] if points is None else points
            _write(root / path, scan.astype("<f4"))
            if labels is not None:
                bin_path = f"lidarseg/{version}/{token}_lidarseg.bin"
                row = {"token": token, "sample_data_token": token, "filename": bin_path}
                tables["lidarseg"].append(row)
                _write(root / bin_path, labels.astype("u1"))
    names = CATEGORIES if categories is None else categories
    category = [{"token": f"c{i}", "name": n, "description": ""} for i, n in enumerate(names)]
    if categories is not None:
        category = [{**row, "index": i} for i, row in enumerate(category)]
    for name, content in {**tables, "category": category}.items():
        write_json(root / version / f"{name}.json", content)
    return tokens


def _sensor_rows(sample: str, stamp: int) -> list[dict]:
    """Of `sample_data`: an image, a LiDAR keyframe, and a sweep that is none."""
    kinds = (("samples", "CAM_FRONT"), ("samples", "LIDAR_TOP"), ("sweeps", "LIDAR_TOP"))
    rows = []
    for folder, channel in kinds:
        token = f"{sample}-{folder}-{channel}"
        suffix = "jpg" if channel == "CAM_FRONT" else "pcd.bin"
        path = f"{folder}/{channel}/n015__{channel}__{token}.{suffix}"
        rows.append(
            {"token": token, "sample_token": sample, "ego_pose_token": token}
            | {"calibrated_sensor_token": "c", "timestamp": stamp + 7, "fileformat": suffix[:3]}
            | {"is_key_frame": folder == "samples", "height": 0, "width": 0, "filename": path}
            | {"prev": "", "next": ""}
        )
    return rows


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array.tofile(path)


def write_arrays(folder: Path, **arrays: np.ndarray) -> Path:
    """A prepared scene."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder
