"""Compiling, caching and loading the kernels, and the threads they run on."""

from cuda_ops.runtime.load import CpuLibrary, Served, cpu_library, served, serving, supported_isas

__all__ = ["CpuLibrary", "Served", "cpu_library", "served", "serving", "supported_isas"]
