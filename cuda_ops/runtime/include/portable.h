// What host compilers, nvcc and NVRTC understand alike: integer types and the mark of a function.
#pragma once

#ifdef __CUDACC_RTC__  // NVRTC has no stdint.h
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif

#ifdef __CUDACC__
#define PC3D_BOTH __host__ __device__ inline
#else
#define PC3D_BOTH static inline
#endif
