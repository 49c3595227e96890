// Boxes around points that stand near each other: around every 16 points in a row, around every 16
// of these boxes, and so on.
//
// Rounding is monotone, so that the distance to a box, computed like that to a point, is never more
// than that to a point inside it. Nothing has to be added for safety, and whatever the order of the
// points, it decides about time alone.
#pragma once
#include <stdint.h>

#include "../runtime/include/parallel.h"
#include "../runtime/include/simd.h"
#include "../runtime/include/squared_distance.h"

namespace pc3d {

constexpr int kFanout = 16;
constexpr int kFanoutBits = 4;
constexpr int kMaxLevels = 8;  // 16^8 > 2^31 points
constexpr int64_t kNodesPerTask = 64;
constexpr float kInfinity = __builtin_inff();

struct Node {  // 16 boxes; of those around nothing, low is above high
  float low[3][kFanout];
  float high[3][kFanout];
  int32_t first_row[kFanout];  // the smallest row in each
};

// Sorted points in columns, padded to whole leaves, and the nodes above them.
struct BoxTree {
  float* axis[3];
  int32_t* row;
  Node* level[kMaxLevels];  // level[0]: boxes around 16 points
  int num_levels;

  static int64_t padded(int64_t num) { return ceil_div(num, kFanout) * kFanout; }

  static int64_t bytes(int64_t num) {
    int64_t nodes = 0, size = ceil_div(num, kFanout);
    do nodes += size = ceil_div(size, kFanout);
    while (size > 1);
    return nodes * static_cast<int64_t>(sizeof(Node)) + 4 * 4 * padded(num);
  }

  BoxTree(void* workspace, int64_t num) {
    Node* nodes = static_cast<Node*>(workspace);
    num_levels = 0;
    int64_t size = ceil_div(num, kFanout);
    do {
      size = ceil_div(size, kFanout);
      level[num_levels++] = nodes;
      nodes += size;
    } while (size > 1);
    float* columns = reinterpret_cast<float*>(nodes);
    for (int a = 0; a < 3; ++a) axis[a] = columns + a * padded(num);
    row = reinterpret_cast<int32_t*>(columns + 3 * padded(num));
  }

  // Points [num, 3] in their order [num].
  void build(const float* points, const int32_t* order, int64_t num, int64_t threads) const {
    parallel_ranges(padded(num), kNodesPerTask * kFanout, threads, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const float* p = points + 3 * static_cast<int64_t>(order[i < num ? i : 0]);
        for (int a = 0; a < 3; ++a) axis[a][i] = i < num ? p[a] : kInfinity;
        row[i] = i < num ? order[i] : INT32_MAX;
      }
    });
    int64_t below = ceil_div(num, kFanout);  // leaves, then nodes
    for (int l = 0; l < num_levels; ++l) {
      const int64_t size = ceil_div(below, kFanout);
      parallel_ranges(size, kNodesPerTask, threads, [&](int64_t first, int64_t end) {
        for (int64_t n = first; n < end; ++n) {
          for (int place = 0; place < kFanout; ++place) {
            const int64_t child = n * kFanout + place;
            if (child >= below) {
              enclose(level[l][n], place, nullptr, nullptr, nullptr, 0);
            } else if (l) {
              const Node& c = level[l - 1][child];
              const float *low[3] = {c.low[0], c.low[1], c.low[2]};
              const float *high[3] = {c.high[0], c.high[1], c.high[2]};
              enclose(level[l][n], place, low, high, c.first_row, kFanout);
            } else {
              const int64_t at = child * kFanout;
              const float* points[3] = {axis[0] + at, axis[1] + at, axis[2] + at};
              const int64_t left = num - at;
              enclose(level[l][n], place, points, points, row + at,
                      left < kFanout ? static_cast<int>(left) : kFanout);
            }
          }
        }
      });
      below = size;
    }
  }

 private:
  // Box `place` of a node around points or boxes.
  static void enclose(Node& node, int place, const float* const* low, const float* const* high,
                      const int32_t* rows, int num) {
    for (int a = 0; a < 3; ++a) {
      float least = kInfinity, most = -kInfinity;
      for (int i = 0; i < num; ++i) {
        least = low[a][i] < least ? low[a][i] : least;
        most = high[a][i] > most ? high[a][i] : most;
      }
      node.low[a][place] = least;
      node.high[a][place] = most;
    }
    int32_t first = INT32_MAX;
    for (int i = 0; i < num; ++i) first = rows[i] < first ? rows[i] : first;
    node.first_row[place] = first;
  }
};

// Squared distances [16] of a node's boxes from the box between low and high, or from a point that
// is both; and a bit for each that is at most `reach`.
static inline uint32_t boxes_near(const float* low, const float* high, const Node& node,
                                  float reach, float* squared) {
  uint32_t near = 0;
  for (int v = 0; v < kFanout; v += kLanes) {
    Vec outside[3];
    for (int a = 0; a < 3; ++a) {
      const Vec below = load(node.low[a] + v) - broadcast(high[a]);
      const Vec above = broadcast(low[a]) - load(node.high[a] + v);
      outside[a] = larger(larger(below, above), broadcast(0));
    }
    const Vec d = squared_distance(outside[0], outside[1], outside[2]);
    store(squared + v, d);
    near |= at_most(d, broadcast(reach)) << v;
  }
  return near;
}

}  // namespace pc3d
