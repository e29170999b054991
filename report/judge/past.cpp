// SPDX-License-Identifier: Apache-2.0
#include "report/judge/past.hpp"

#include "base/parts.hpp"

namespace mallard::report {
namespace {

constinit PastPoint g_points[kPastPoints]{};
constinit std::uint32_t g_count = 0;
MALLARD_PART(past_points, g_points);
MALLARD_PART(past_count, g_count);

}  // namespace

Past keep_point(const Snapshot& s, std::uint64_t taken_ns) noexcept {
  if (g_count == kPastPoints) {
    for (std::uint32_t i = 1; i < kPastPoints / 2; ++i) g_points[i] = g_points[i * 2];
    g_count = kPastPoints / 2;
  }
  PastPoint& p = g_points[g_count];
  p = {taken_ns, s.rss.total, s.live_bytes.value, s.recording.on, s.ledger.known, s.ledger.unexplained_bytes,
       {}};
  for (int i = 0; i < kCauseCount; ++i) p.causes[i] = s.ledger.lines[i].bytes.value;
  return {{g_points, g_count++}, taken_ns};
}

bool points_adopt(const OtherParts& parts) noexcept {
  return parts.adopt(g_points) && parts.adopt(g_count) && g_count <= kPastPoints;
}

void forget_points() noexcept { g_count = 0; }

}  // namespace mallard::report
