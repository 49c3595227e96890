"""Vertices of ply files as points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pc3d.io.clouds.file import ArrayCloud
from pc3d.io.clouds.names import refuse_columns, split_coordinates
from pc3d.io.ply import map_vertices


class PlyCloud(ArrayCloud):
    """Vertices of a ply file; binary rows are mapped, others in memory."""


def open_ply(path: Path, columns: Sequence[str] = ()) -> PlyCloud:
    """Open a ply file; its properties are the columns, lists are left out.

    Raises:
        As `pc3d.io.ply.read_vertices`.
    """
    refuse_columns(path, columns)
    vertices = map_vertices(path)
    (x, y, z), others = split_coordinates(path, list(vertices))
    arrays = list(vertices.values())
    return PlyCloud(
        path, (arrays[x], arrays[y], arrays[z]), {name: arrays[i] for name, i in others.items()}
    )
