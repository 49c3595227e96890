"""Hardware-aware networks: a supernet, what its networks cost, and the search among them."""

from pc3d.search.space import ArchSpec, SearchSpace, StageSpec
from pc3d.search.supernet import Supernet

__all__ = ["ArchSpec", "SearchSpace", "StageSpec", "Supernet"]
