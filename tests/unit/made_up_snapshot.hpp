// SPDX-License-Identifier: Apache-2.0
// A process as a report sees it, made by hand: to be judged and written without one that runs.
#pragma once

#include <string>
#include <vector>

#include "report/judge/verdict.hpp"
#include "tests/unit/catch.hpp"

namespace made_up {

using namespace mallard;
using namespace mallard::report;

inline constexpr double kMega = 1 << 20;

/// A process of 100 MB beside code and mallard's own, all of it live unless lines say otherwise.
struct Process {
  Arena arena;
  Snapshot s{};
  std::vector<SiteRow> rows;
  std::vector<LedgerDetail> details;
  Frame frame{};
  const Frame* frames[1] = {&frame};

  explicit Process(double megabytes = 100) {
    s.mallard_version = kVersion;
    s.allocator.name = "jemalloc";
    s.allocator.requested = "system";
    s.process.executable = "/bin/program";
    s.process.pid = 4711;
    s.recording.on = true;
    s.recording.sample_bytes = 512 << 10;
    s.recording.since_ns = 60'000'000'000;
    s.ledger.known = s.ledger.divided = true;
    s.ledger.unit_name = "slab";
    s.ledger.rss_bytes = static_cast<std::uint64_t>(megabytes * kMega);
    frame.function = "keep_record";
    set(Cause::kLive, megabytes);
  }

  void set(Cause cause, double megabytes) {
    s.ledger.lines[static_cast<int>(cause)].bytes = {megabytes * kMega, 0, true, megabytes * kMega,
                                                     megabytes * kMega};
  }
  /// Turns live memory into something else.
  void move(Cause cause, double megabytes) {
    auto& live = s.ledger.lines[static_cast<int>(Cause::kLive)].bytes;
    set(Cause::kLive, live.value / kMega - megabytes);
    set(cause, megabytes);
  }
  SiteRow& add_site(double live_megabytes, double block_bytes) {
    SiteRow row{};
    row.id = static_cast<std::uint32_t>(rows.size() + 1);
    row.depth = 1;
    row.frames = frames;
    row.live_bytes.value = row.allocated_bytes.value = live_megabytes * kMega;
    row.live_count.value = live_megabytes * kMega / block_bytes;
    row.live_samples = row.samples = static_cast<std::uint64_t>(live_megabytes * 2);
    rows.push_back(row);
    return rows.back();
  }
  /// Grown since the first report, `born` of that since the latest one; errors as samples of 512 KiB have
  /// them.
  void grow(SiteRow& row, double megabytes, double since_previous) {
    constexpr double kSample = 512 << 10;
    row.history.since_first = {true, megabytes * kMega, megabytes * kMega * kSample};
    row.history.since_previous = {true, since_previous * kMega, since_previous * kMega * kSample};
    s.history.earlier_reports = 2;
    s.history.since_first = {true, 40'000'000'000, row.history.since_first, 0, false, {}};
    s.history.since_previous = {true, 10'000'000'000, row.history.since_previous, 0, false, {}};
  }
  std::string judge_it() {
    s.sites = rows.data();
    s.site_count = static_cast<std::uint32_t>(rows.size());
    s.ledger.details = details.data();
    s.ledger.detail_count = static_cast<std::uint32_t>(details.size());
    judge(arena, &s);
    REQUIRE(!s.verdict.text.empty());
    return std::string(facts_of(s.verdict.cause).name);
  }
  std::string text() const { return std::string(s.verdict.text); }
};

}  // namespace made_up
