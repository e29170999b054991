// SPDX-License-Identifier: Apache-2.0
// How long calls took, from JSON.
#include "cli/report/json_members.hpp"
#include "cli/report/snapshot_of.hpp"

namespace mallard::cli {
namespace {

report::LatencyRow row_of(const Json& j, const std::string& operation) {
  report::LatencyRow row{};
  row.operation = operation;
  const Json& up_to = member(j, "up_to_bytes");
  row.up_to_bytes = flag(j, "all_sizes") ? 0 : up_to.is_number() ? number(j, "up_to_bytes") : UINT64_MAX;
  row.timed = number(j, "timed");
  row.mean_ns = decimal(j, "mean_ns");
  row.most_ns = decimal(j, "max_ns");
  for (int i = 0; i < report::kQuantileCount; ++i)
    row.quantiles_ns[i] = decimal(j, std::string(report::kQuantiles[i].field).c_str());
  return row;
}

}  // namespace

void SnapshotOf::read_slow_calls(const Json& j) {
  report::Latency& l = s_.latency;
  l.slow_ns = number(j, "from_ns");
  l.slow_calls = number(j, "calls");
  l.slow_sum_ns = decimal(j, "sum_ns");
  std::vector<report::LatencySite> sites;
  std::vector<report::SiteRow> stacks;
  for (const Json& site : entries(j, "sites")) {
    report::LatencySite& to =
        sites.emplace_back(report::LatencySite{text(site, "operation"),
                                               report::LatencySite::kNoStack,
                                               number(site, "calls"),
                                               {number(site, "from_10_us"), number(site, "from_100_us"),
                                                number(site, "from_1_ms"), number(site, "from_10_ms")},
                                               decimal(site, "sum_ns"),
                                               decimal(site, "max_ns")});
    std::vector<const report::Frame*> stack = frames_at(entries(site, "stack"), file_);
    if (!member(site, "site").is_number()) continue;
    to.row = static_cast<std::uint32_t>(stacks.size());
    report::SiteRow& row = stacks.emplace_back();
    row.id = static_cast<std::uint32_t>(number(site, "site"));
    row.depth = static_cast<int>(stack.size());
    row.frames = file_.storage.list(std::move(stack)).data();
  }
  l.sites = file_.storage.list(std::move(sites));
  l.stacks = file_.storage.list(std::move(stacks));
}

/// Reports of earlier versions have none.
void SnapshotOf::read_latency(const Json& document) {
  const Json& j = member(document, "latency");
  report::Latency& l = s_.latency;
  l.on = j.is_object() && !j.empty();
  if (!l.on) return;
  l.every = number(j, "every");
  l.since_ns = number(j, "since_ns");
  l.clock = text(j, "clock");
  l.own_ns = decimal(j, "own_ns");
  l.went_back = number(j, "went_back");
  std::vector<report::LatencyRow> rows;
  for (const Json& row : entries(j, "calls")) rows.push_back(row_of(row, text(row, "operation")));
  l.rows = file_.storage.list(std::move(rows));
  read_slow_calls(member(j, "slow"));
}

}  // namespace mallard::cli
