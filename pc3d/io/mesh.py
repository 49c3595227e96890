"""Triangles of a ply mesh, and the normals that they give its vertices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData

from pc3d.io.ply_header import read_header
from pc3d.io.reading import reading


def read_triangles(path: str | Path) -> NDArray[np.int64]:
    """[F, 3] vertex indices of a ply file; [0, 3] if it has no faces.

    Raises:
        ValueError: a damaged file, faces that are no triangles, or indices beyond the vertices.
    """
    elements = read_header(path).elements
    faces = elements.get("face")
    if faces is None or faces.num_rows == 0:
        return np.empty((0, 3), dtype=np.int64)
    lists = [p.name for p in faces.properties if p.length_kind]
    name = next((name for name in lists if name.startswith("vertex_ind")), None)
    if name is None:
        raise ValueError(f"{path}: the faces have no property vertex_indices")
    with reading(path, "damaged faces, or faces that are no triangles"):
        ply = PlyData.read(str(path), known_list_len={"face": {name: 3}})
        corners = ply["face"][name]
        # Beside further lists, plyfile keeps one array per face.
        triangles = np.stack(corners) if corners.dtype == object else np.asarray(corners)
    num_vertices = elements["vertex"].num_rows if "vertex" in elements else 0
    if triangles.shape[1] != 3 or triangles.min() < 0 or triangles.max() >= num_vertices:
        raise ValueError(f"{path}: faces must be triangles of vertices that are there")
    return triangles.astype(np.int64)


def vertex_normals(xyz: NDArray[Any], triangles: NDArray[np.integer]) -> NDArray[np.float32]:
    """Unit normals of vertices: the sum of their triangles' normals, weighted by area.

    Args:
        xyz: [V, 3] vertices.
        triangles: [F, 3] vertex indices, counter-clockwise from outside.

    Returns:
        [V, 3] float32; (0, 0, 1) for a vertex without a triangle of positive area, or with one of
        which a corner is NaN.
    """
    corners = np.asarray(xyz, dtype=np.float64)[triangles]  # [F, 3, 3]
    # The cross product's length is twice the area: weighting by area costs nothing.
    weighted = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at_corner = np.repeat(weighted, 3, axis=0)
    vertex = triangles.reshape(-1)
    total = np.stack([np.bincount(vertex, at_corner[:, k], len(xyz)) for k in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])
    return np.where(length > 0, total / np.where(length > 0, length, 1.0), up).astype(np.float32)
