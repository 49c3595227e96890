"""What networks cost: exact work, time and memory, module by module."""

from pc3d.profiling.memory import MemoryUse, memory_of
from pc3d.profiling.profile import Cost, Profile, Totals, profile
from pc3d.profiling.work import multiply_adds

__all__ = ["Cost", "MemoryUse", "Profile", "Totals", "memory_of", "multiply_adds", "profile"]
