// Codebook attention of which every voxel and group has chosen one code: only that is computed.
//
// A task owns a tile of output rows and lists the neighbours of each row. Groups next to each other
// that chose the same code are computed together, with their sums in registers.
#include <stdint.h>
#include <string.h>

#include "depthwise.h"

using namespace pc3d;

namespace {

constexpr int kMaxTaps = 125;

struct Near {
  int32_t row;
  int32_t tap;
};

// The neighbours of one row of a tile in one code.
struct NearList {
  int64_t num;
  Near near[kMaxTaps];
};

// out = the sum over neighbours of code [tap] * v [row], in NV vectors of channels.
template <int NV>
PC3D_INLINE void sum_panel(const NearList& list, const float* code, const float* v,
                           int64_t channels, float* out) {
  Vec sum[NV];
  PC3D_UNROLL for (int k = 0; k < NV; ++k) sum[k] = broadcast(0);
  for (int64_t i = 0; i < list.num; ++i) {
    const float* from = v + list.near[i].row * channels;
    const float* factor = code + list.near[i].tap * channels;
    PC3D_UNROLL for (int k = 0; k < NV; ++k) {
      sum[k] += load(factor + k * kLanes) * load(from + k * kLanes);
    }
  }
  PC3D_UNROLL for (int k = 0; k < NV; ++k) store(out + k * kLanes, sum[k]);
}

template <int NV>
PC3D_INLINE int64_t sum_panels(const NearList& list, const float* code, const float* v,
                               int64_t channels, float* out, int64_t c, int64_t end) {
  for (; c + NV * kLanes <= end; c += NV * kLanes) {
    sum_panel<NV>(list, code + c, v + c, channels, out + c);
  }
  if constexpr (NV > 1) return sum_panels<NV / 2>(list, code, v, channels, out, c, end);
  return c;
}

// out [first, end): the depthwise convolution of one row in these channels.
void sum_channels(const NearList& list, const float* code, const float* v, int64_t channels,
                  float* out, int64_t first, int64_t end) {
  int64_t c = sum_panels<kRegisters / 4>(list, code, v, channels, out, first, end);
  if (c < end && end - first >= kLanes) {  // a last vector over what is there already
    sum_panel<1>(list, code + end - kLanes, v + end - kLanes, channels, out + end - kLanes);
    return;
  }
  for (; c < end; ++c) {
    float sum = 0;
    for (int64_t i = 0; i < list.num; ++i) {
      sum += code[list.near[i].tap * channels + c] * v[list.near[i].row * channels + c];
    }
    out[c] = sum;
  }
}

}  // namespace

PC3D_EXPORT int64_t pc3d_routed_max_taps() { return kMaxTaps; }
PC3D_EXPORT int64_t pc3d_routed_scratch_bytes(int64_t num_codes) {
  return static_cast<int64_t>(sizeof(NearList)) * kTileRows * num_codes + 64;
}

// y [num, channels] where group g of voxel n has chosen code chosen [n, g]. No code has more than
// pc3d_routed_max_taps(). Returns 0; 1 if a table names a row beyond num; 2 if a chosen code is not
// there.
PC3D_EXPORT int64_t pc3d_routed_attention(const float* v, const int32_t* chosen, const float* codes,
                                          const int32_t* const* tables, const int64_t* num_taps,
                                          int64_t num_codes, int64_t groups, int64_t num,
                                          int64_t channels, float* y, char* scratch,
                                          int64_t threads) {
  int64_t fault = 0;
  const int64_t width = channels / groups;
  parallel_for(ceil_div(num, kTileRows), threads, [&](int64_t task, int thread) {
    char* memory = scratch + thread * pc3d_routed_scratch_bytes(num_codes);
    NearList* lists =
        reinterpret_cast<NearList*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    int32_t input[kTileRows + kListSlack], place[kTileRows + kListSlack];
    PairList pairs{input, place, 0, -1};
    const int64_t first = task * kTileRows;
    const int64_t rows = num - first < kTileRows ? num - first : kTileRows;
    for (int64_t d = 0; d < num_codes; ++d) {
      NearList* list = lists + d * kTileRows;
      for (int64_t r = 0; r < rows; ++r) list[r].num = 0;
      for (int64_t tap = 0; tap < num_taps[d]; ++tap) {
        list_tap(tables[d] + tap * num + first, rows, num, pairs);
        for (int64_t i = 0; i < pairs.num; ++i) {
          NearList& of_row = list[place[i]];
          of_row.near[of_row.num++] = {input[i], static_cast<int32_t>(tap)};
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* choice = chosen + (first + r) * groups;
      for (int64_t g = 0; g < groups;) {
        const int64_t d = choice[g];
        int64_t next = g + 1;
        while (next < groups && choice[next] == d) ++next;
        if (static_cast<uint64_t>(d) >= static_cast<uint64_t>(num_codes)) {
          __atomic_store_n(&fault, 2, __ATOMIC_RELAXED);
          return;
        }
        const float* code = codes;
        for (int64_t before = 0; before < d; ++before) code += num_taps[before] * channels;
        sum_channels(lists[d * kTileRows + r], code, v, channels, y + (first + r) * channels,
                     g * width, next * width);
        g = next;
      }
    }
    if (pairs.last >= num) __atomic_store_n(&fault, 1, __ATOMIC_RELAXED);
  });
  return fault;
}
