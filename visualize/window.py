"""A window of open3d instead of a page, where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pc3d.data.spec import DatasetSpec
from visualize.layers import AnyLayer, check_layers, layer_colors


def open_window(
    title: str,
    xyz: NDArray[np.floating],
    layers: Sequence[AnyLayer],
    spec: DatasetSpec,
    first: Sequence[str],
) -> str:
    """Show all points of a scene until the window is closed; the keys 1, 2, ... change the layer.

    Args:
        title: of the window.
        xyz: [P, 3] metres.
        layers: each with P rows.
        spec: names and colours of the classes.
        first: names of layers that get the first keys, in this order; the others follow.

    Returns:
        What was shown, a line.

    Raises:
        ValueError: open3d is not installed or finds no display, or layers that do not fit.
    """
    check_layers(layers, len(xyz), spec)
    names = [layer.name for layer in layers]
    unknown = [name for name in first if name not in names]
    if unknown:
        raise ValueError(f"there is no layer {', '.join(unknown)}; it has {', '.join(names)}")
    ordered = sorted(layers, key=lambda layer: [*first, layer.name].index(layer.name))
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise ValueError(
            f"viewer=open3d: open3d cannot be imported ({error}). Install it: pip install "
            "pc3d[open3d]. A page needs nothing: viewer=page."
        ) from error
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(xyz - xyz.mean(axis=0))
    window = open3d.visualization.VisualizerWithKeyCallback()
    if not window.create_window(window_name=title):
        raise ValueError("viewer=open3d: no window can be opened here. Use viewer=page.")
    paint = [_painter(open3d, cloud, layer, spec) for layer in ordered]
    for key, change in zip("123456789", paint, strict=False):
        window.register_key_callback(ord(key), change)
    paint[0](window)
    window.add_geometry(cloud)
    window.run()
    window.destroy_window()
    keys = ", ".join(f"{k} {layer.name}" for k, layer in zip("123456789", ordered, strict=False))
    return f"{title}: {len(xyz):,} points; keys {keys}"


def _painter(open3d: Any, cloud: Any, layer: AnyLayer, spec: DatasetSpec) -> Callable[[Any], bool]:
    """What a key does: the cloud takes the colours of a layer."""

    def paint(window: Any) -> bool:
        colors = layer_colors(layer, spec).astype(np.float64) / 255.0
        cloud.colors = open3d.utility.Vector3dVector(colors)
        window.update_geometry(cloud)
        return True

    return paint
