"""pc3d: train, test and inspect 3D semantic segmentation networks on point clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pc3d.inference import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # `pc3d.load` needs torch, which takes seconds to import; most of the package does not need it.
    if name == "load":
        from pc3d.inference import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
