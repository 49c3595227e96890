"""Compiling, caching and loading the kernels, and the threads they run on."""

from cuda_ops.runtime.gpu import Gpu, KernelUnavailableError, gpu_of, synchronize, vector_width
from cuda_ops.runtime.load import (
    CpuLibrary,
    Served,
    all_float32,
    cpu_library,
    int32,
    int64,
    served,
    serving,
    supported_isas,
)

__all__ = [
    "CpuLibrary",
    "Gpu",
    "KernelUnavailableError",
    "Served",
    "all_float32",
    "cpu_library",
    "gpu_of",
    "int32",
    "int64",
    "served",
    "serving",
    "supported_isas",
    "synchronize",
    "vector_width",
]
