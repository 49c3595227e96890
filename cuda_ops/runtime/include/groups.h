// Groups of consecutive channels that share a weight.
#pragma once
#include <stdint.h>

#include "simd.h"

namespace pc3d {

// Which group each vector of channels belongs to. A vector may straddle two groups; where groups
// are so narrow that it may straddle more, channels are taken one by one.
struct Groups {
  int64_t num, width;
  bool eight;           // of eight groups a vector is picked at once
  bool whole;           // no vector straddles
  bool narrow;          // some vector straddles three
  int32_t* vectors;     // per vector: its first group, its last group, lanes of the first one
  int32_t* of_channel;  // per channel: its group

  static int64_t num_entries(int64_t channels) { return 3 * (channels / kLanes) + channels; }

  Groups(int64_t num_groups, int64_t channels, int32_t* memory)
      : num(num_groups),
        width(channels / num_groups),
        eight(kPicksFromEight && num_groups == 8),
        whole(true),
        narrow(false),
        vectors(memory),
        of_channel(memory + 3 * (channels / kLanes)) {
    for (int64_t c = 0; c < channels; ++c) of_channel[c] = static_cast<int32_t>(c / width);
    for (int64_t v = 0; v < channels / kLanes; ++v) {
      const int64_t first = v * kLanes / width, last = (v * kLanes + kLanes - 1) / width;
      whole &= first == last;
      narrow |= last - first > 1;
      const int64_t lanes = (first + 1) * width - v * kLanes;
      vectors[3 * v] = static_cast<int32_t>(first);
      vectors[3 * v + 1] = static_cast<int32_t>(last);
      vectors[3 * v + 2] = static_cast<int32_t>(lanes < kLanes ? lanes : kLanes);
    }
  }

  // choice [groups], each for the channels of its group: the v-th vector.
  PC3D_INLINE Vec spread(const float* choice, int64_t v) const {
    const Vec first = broadcast(choice[vectors[3 * v]]);
    if (whole) return first;
    return blend(first, broadcast(choice[vectors[3 * v + 1]]), vectors[3 * v + 2]);
  }
};

// to [channels] = x times the choice of each channel's group, or added to what is there.
template <bool Add>
static inline void mix(const Groups& groups, const float* choice, const float* x, int64_t channels,
                       float* to) {
  int64_t c = 0;
  const Vec row = groups.eight ? load_eight(choice) : Vec{};
  for (; groups.eight && c + kLanes <= channels; c += kLanes) {
    const Vec product = pick(row, groups.of_channel + c) * load(x + c);
    store(to + c, Add ? load(to + c) + product : product);
  }
  for (; !groups.narrow && c + kLanes <= channels; c += kLanes) {
    const Vec product = groups.spread(choice, c / kLanes) * load(x + c);
    store(to + c, Add ? load(to + c) + product : product);
  }
  for (; c < channels; ++c) {
    const float product = choice[groups.of_channel[c]] * x[c];
    to[c] = Add ? to[c] + product : product;
  }
}

// to [groups]: the sums of a * b over the channels of every group.
static inline void group_sums(const float* a, const float* b, int64_t groups, int64_t width,
                              float* to) {
  int64_t g = 0;
  if (width == 8 && kLanes >= 8) {  // a vector would hold no more than one group, or two
    for (; g + 4 <= groups; g += 4, a += 32, b += 32) sum_four_eights(a, b, to + g);
  }
  for (; g < groups; ++g, a += width, b += width) {
    Vec sums = broadcast(0);
    int64_t c = 0;
    for (; c + kLanes <= width; c += kLanes) sums += load(a + c) * load(b + c);
    if (c > 0 && c < width) {  // the last vector, without the channels that are summed already
      const int64_t last = width - kLanes;
      sums += blend(broadcast(0), load(a + last) * load(b + last), c - last);
      c = width;
    }
    float sum = c > 0 ? sum_lanes(sums) : 0;
    for (; c < width; ++c) sum += a[c] * b[c];
    to[g] = sum;
  }
}

}  // namespace pc3d
