// SPDX-License-Identifier: Apache-2.0
#include "report/divide/huge_division.hpp"

#include <algorithm>

#include "base/math.hpp"

namespace mallard::report {
namespace {

/// Zeros of other lines (private copies of files, allocators' metadata) are few and left out.
class Divider {
 public:
  explicit Divider(Ledger* ledger) noexcept : ledger_(*ledger) {}

  /// No line has more zeros than bytes. \return what found no room
  double add(Cause cause, double bytes) noexcept {
    double& to = ledger_.huge_zeros.in_line[static_cast<int>(cause)];
    const double room = ledger_.lines[static_cast<int>(cause)].bytes.value - to;
    const double added = std::clamp(bytes, 0.0, std::max(0.0, room));
    to += added;
    return bytes - added;
  }

 private:
  Ledger& ledger_;
};

void set_bytes(double variance, HugeZeros* zeros) noexcept {
  constexpr double kZ = 1.96;
  double sum = 0;
  for (const double bytes : zeros->in_line) sum += bytes;
  const double error = kZ * math::sqrt(variance);
  zeros->bytes = {sum, variance, true, std::max(0.0, sum - error), sum + error};
}

}  // namespace

void divide_huge_zeros(const HugeTails& tails, std::span<const Region> regions, const HeapTotals* heap,
                       Ledger* out) noexcept {
  HugeZeros& zeros = out->huge_zeros = {};
  zeros.known = tails.known;
  zeros.why_not = tails.why_not;
  zeros.everywhere = tails.everywhere;
  zeros.huge_bytes = tails.huge_bytes;
  const double scale = tails.scale();
  Divider divider(out);
  double in_heap = 0, most = 0;
  for (const Region& region : regions) {
    const double bytes = scale * static_cast<double>(bytes_within(tails.zeros, region.begin, region.end));
    if (bytes <= 0) continue;
    if (region.owner == Owner::kHeap) in_heap += bytes;
    if (region.owner == Owner::kStack) divider.add(Cause::kStacks, bytes);
    if (region.owner != Owner::kAnonymous) continue;
    divider.add(Cause::kAnonymous, bytes);
    if (bytes <= most) continue;
    most = bytes;
    zeros.owner = region.name;
    zeros.allocator = region.allocator;
  }
  if (heap) {
    const double live = scale * heap->noted.live_zeros, holes = scale * heap->noted.hole_zeros;
    const double left = divider.add(Cause::kLive, live) + divider.add(Cause::kHoles, holes);
    const double rest = divider.add(Cause::kRetained, std::max(0.0, in_heap - live - holes));
    divider.add(Cause::kLive, divider.add(Cause::kHoles, left + rest));
  } else {
    divider.add(Cause::kUndivided, in_heap);
  }
  set_bytes(tails.variance, &zeros);
}

}  // namespace mallard::report
