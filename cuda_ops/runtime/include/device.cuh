// What every CUDA kernel here uses. One thread does one thing: `thread()` is its number.
//
// Kernels have C linkage, pointers and int64 as parameters, and PC3D_THREADS threads in a block.
#pragma once
#include "portable.h"

#define PC3D_KERNEL extern "C" __global__ void __launch_bounds__(PC3D_THREADS, 1)

namespace pc3d {

using Word = unsigned long long;  // what 64-bit atomics work on

__device__ inline int64_t thread() {
  return static_cast<int64_t>(blockIdx.x) * PC3D_THREADS + threadIdx.x;
}

// Tells the host that the input was bad; it raises the error later (runtime/gpu.py).
__device__ inline void complain(uint8_t* flag) { *flag = 1; }

}  // namespace pc3d
