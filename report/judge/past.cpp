// SPDX-License-Identifier: Apache-2.0
#include "report/judge/past.hpp"

namespace mallard::report {
namespace {

constinit PastPoint g_points[kPastPoints]{};
constinit std::uint32_t g_count = 0;

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

void forget_points() noexcept { g_count = 0; }

void write_past_json(const Past& past, Json& json) noexcept {
  json.key("past").open('[');
  for (const PastPoint& p : past.points) {
    json.line().open('{').key("ago_ns").number(past.now_ns - p.taken_ns).key("rss_bytes").number(p.rss_bytes);
    json.key("live_bytes");
    if (p.live_known) json.number(static_cast<std::uint64_t>(p.live_bytes + 0.5));
    else json.null();
    json.key("ledger").open('{');
    for (int i = 0; p.ledger_known && i < kCauseCount; ++i)
      json.key(facts_of(static_cast<Cause>(i)).name).number(static_cast<std::uint64_t>(p.causes[i] + 0.5));
    if (p.ledger_known) json.key("unexplained").signed_number(p.unexplained_bytes);
    json.close('}').close('}');
  }
  json.close(']');
}

}  // namespace mallard::report
