// What every kernel shares: the hook into torch's thread pool.
#include "include/parallel.h"

namespace pc3d {
StartParallel start_parallel = nullptr;
}

// Give the library GOMP_parallel of the OpenMP runtime in this process.
PC3D_EXPORT void pc3d_set_parallel(void* function) {
  pc3d::start_parallel = reinterpret_cast<pc3d::StartParallel>(function);
}

// Bytes of a vector register that the kernels were compiled for.
PC3D_EXPORT int64_t pc3d_vector_bytes() {
#if defined(__AVX512F__)
  return 64;
#elif defined(__AVX__)
  return 32;
#else
  return 16;
#endif
}
