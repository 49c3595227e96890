// Codebook attention of which every voxel and group has chosen one code: only that is computed.
//
// A task owns a tile of output rows and lists the neighbours of each row, code by code. A row's
// lists are made equally long with entries that count for nothing, so that vectors of channels that
// chose different codes run through theirs side by side, with their sums in registers and without a
// branch that depends on the choice.
#include <stdint.h>
#include <string.h>

#include "depthwise.h"

using namespace pc3d;

namespace {

constexpr int kSideBySide = kRegisters / 2;

// One neighbour, as distances in floats: of its row in v, and of its tap in the codes. Short, since
// the lists of a tile should stay in the first cache.
struct Step {
  uint32_t row, tap;
};

// A vector of channels: the neighbours of the code that its group chose, its first channel, and
// which of its lanes belong to the group. Only a group narrower than a vector has not all of them.
struct Strip {
  const Step* steps;
  int64_t channel, first, lanes;
};

// out = the sums over `num` neighbours of code * v, N strips at once.
template <int N>
PC3D_INLINE void sum_strips(const Strip* strips, int64_t num, const float* codes, const float* v,
                            float* out) {
  Vec sum[N];
  PC3D_UNROLL for (int k = 0; k < N; ++k) sum[k] = broadcast(0);
  for (int64_t i = 0; i < num; ++i) {
    PC3D_UNROLL for (int k = 0; k < N; ++k) {
      const Step& step = strips[k].steps[i];
      const int64_t channel = strips[k].channel;
      sum[k] += load(codes + step.tap + channel) * load(v + step.row + channel);
    }
  }
  for (int k = 0; k < N; ++k) {
    const Strip& strip = strips[k];
    if (strip.lanes == kLanes) {
      store(out + strip.channel, sum[k]);
    } else {
      float whole[kLanes];
      store(whole, sum[k]);
      memcpy(out + strip.channel + strip.first, whole + strip.first, sizeof(float) * strip.lanes);
    }
  }
}

template <int N>
PC3D_INLINE void sum_all(const Strip* strips, int64_t num_strips, int64_t num, const float* codes,
                         const float* v, float* out) {
  for (; num_strips >= N; num_strips -= N, strips += N) {
    sum_strips<N>(strips, num, codes, v, out);
  }
  if constexpr (N > 1) sum_all<N / 2>(strips, num_strips, num, codes, v, out);
}

// Memory of one thread.
struct Scratch {
  int64_t stride;    // entries of a list
  Step* lists;       // [num_codes, kTileRows, stride]
  Strip* strips;     // [groups, vectors of a group]
  int32_t* lengths;  // [num_codes, kTileRows]
  int64_t in_group;  // vectors of a group

  static int64_t vectors(int64_t width) { return ceil_div(width, kLanes); }
  static int64_t bytes(int64_t num_codes, int64_t max_taps, int64_t groups, int64_t width) {
    return num_codes * kTileRows * (4 + max_taps * static_cast<int64_t>(sizeof(Step))) +
           groups * vectors(width) * static_cast<int64_t>(sizeof(Strip)) + 128;
  }

  Scratch(char* memory, int64_t num_codes, int64_t max_taps, int64_t groups, int64_t width)
      : stride(max_taps), in_group(vectors(width)) {
    lists = reinterpret_cast<Step*>((reinterpret_cast<uintptr_t>(memory) + 63) / 64 * 64);
    strips = reinterpret_cast<Strip*>(lists + num_codes * kTileRows * stride);
    lengths = reinterpret_cast<int32_t*>(strips + groups * in_group);
    const int64_t channels = groups * width;
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t k = 0; k < in_group; ++k) {
        // The last vector of a group goes over channels that the one before has done already.
        const int64_t inside = width - kLanes < k * kLanes ? width - kLanes : k * kLanes;
        const int64_t wanted = g * width + (width < kLanes ? 0 : inside);
        const int64_t channel = channels - kLanes < wanted ? channels - kLanes : wanted;
        strips[g * in_group + k] = {nullptr, channel, width < kLanes ? wanted - channel : 0,
                                    width < kLanes ? width : kLanes};
      }
    }
  }

  Step* list(int64_t code, int64_t row) { return lists + (code * kTileRows + row) * stride; }

  // The neighbours of every row of a tile in every code.
  void fill(const PackedTable* tables, int64_t num_codes, int64_t tile, int64_t channels) {
    memset(lengths, 0, sizeof(int32_t) * num_codes * kTileRows);
    int64_t of_all = 0;  // the tap among those of all codes
    for (int64_t d = 0; d < num_codes; ++d) {
      int32_t* length = lengths + d * kTileRows;
      for (int64_t tap = 0; tap < tables[d].num_taps; ++tap, ++of_all) {
        const Pairs pairs = tables[d].pairs(tile, tap);
        for (int64_t i = 0; i < pairs.num; ++i) {
          const int64_t row = pairs.place[i];
          list(d, row)[length[row]++] = {static_cast<uint32_t>(pairs.input[i] * channels),
                                         static_cast<uint32_t>(of_all * channels)};
        }
      }
    }
  }

  // Make the lists of a row at least as long as the longest one that its groups have chosen, with
  // `nothing`; returns that length.
  int64_t level(const int32_t* chosen, int64_t groups, int64_t num_codes, int64_t row,
                Step nothing) {
    int32_t longest = 0;
    for (int64_t g = 0; g < groups; ++g) {
      const int32_t length = lengths[chosen[g] * kTileRows + row];
      longest = longest < length ? length : longest;
    }
    for (int64_t d = 0; d < num_codes; ++d) {
      for (int64_t i = lengths[d * kTileRows + row]; i < longest; ++i) list(d, row)[i] = nothing;
    }
    return longest;
  }
};

// Where a row is narrower than a vector: channel by channel.
void sum_channels(const Step* steps, int64_t num, const float* codes, const float* v, int64_t first,
                  int64_t width, float* out) {
  for (int64_t c = first; c < first + width; ++c) {
    float sum = 0;
    for (int64_t i = 0; i < num; ++i) sum += codes[steps[i].tap + c] * v[steps[i].row + c];
    out[c] = sum;
  }
}

}  // namespace

PC3D_EXPORT int64_t pc3d_routed_scratch_bytes(int64_t num_codes, int64_t max_taps, int64_t groups,
                                              int64_t channels) {
  return Scratch::bytes(num_codes, max_taps, groups, channels / groups);
}

// y [num, channels] where group g of voxel n has chosen code chosen [n, g]. codes [taps of all
// codes and one more, channels], the last of which is 0. Returns 0, or 1 if a chosen code is not
// there.
PC3D_EXPORT int64_t pc3d_routed_attention(const float* v, const int32_t* chosen, const float* codes,
                                          const PackedTable* tables, int64_t num_codes,
                                          int64_t groups, int64_t num, int64_t channels, float* y,
                                          int64_t max_taps, char* scratch, int64_t threads) {
  int64_t fault = 0, total_taps = 0;
  for (int64_t d = 0; d < num_codes; ++d) total_taps += tables[d].num_taps;
  const int64_t width = channels / groups;
  for_tiles(num, threads, [&](int64_t first, int64_t rows, int thread) {
    char* memory = scratch + thread * Scratch::bytes(num_codes, max_taps, groups, width);
    Scratch own(memory, num_codes, max_taps, groups, width);
    own.fill(tables, num_codes, first / kTileRows, channels);
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* choice = chosen + (first + r) * groups;
      for (int64_t g = 0; g < groups; ++g) {
        if (static_cast<uint32_t>(choice[g]) >= static_cast<uint64_t>(num_codes)) {
          __atomic_store_n(&fault, 1, __ATOMIC_RELAXED);
          return;
        }
      }
      const Step nothing{static_cast<uint32_t>((first + r) * channels),
                         static_cast<uint32_t>(total_taps * channels)};
      const int64_t longest = own.level(choice, groups, num_codes, r, nothing);
      float* out = y + (first + r) * channels;
      for (int64_t g = 0; g < groups; ++g) {
        const Step* steps = own.list(choice[g], r);
        if (channels < kLanes) sum_channels(steps, longest, codes, v, g * width, width, out);
        for (int64_t k = 0; k < own.in_group; ++k) own.strips[g * own.in_group + k].steps = steps;
      }
      if (channels < kLanes) continue;
      sum_all<kSideBySide>(own.strips, groups * own.in_group, longest, codes, v, out);
    }
  });
  return fault;
}
