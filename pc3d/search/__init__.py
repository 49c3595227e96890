"""Hardware-aware networks: a supernet, what its networks cost, and the search among them."""

from pc3d.search.arch import ArchSpec, StageSpec
from pc3d.search.calibration import recalibrate
from pc3d.search.loading import load_supernet
from pc3d.search.sandwich import Sandwich
from pc3d.search.shared import SharedNetworks
from pc3d.search.space import SearchSpace, Space
from pc3d.search.stitching import StitchableUNet
from pc3d.search.supernet import Supernet
from pc3d.search.task import SupernetTask

__all__ = [
    "ArchSpec",
    "Sandwich",
    "SearchSpace",
    "SharedNetworks",
    "Space",
    "StageSpec",
    "StitchableUNet",
    "Supernet",
    "SupernetTask",
    "load_supernet",
    "recalibrate",
]
