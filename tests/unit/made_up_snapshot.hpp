// SPDX-License-Identifier: Apache-2.0
// A process as a report sees it, made by hand: to be judged and written without one that runs.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "report/judge/verdict.hpp"
#include "report/model/naming.hpp"
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
  /// Live memory that grew within the last 40 s, in stretches of work, by what was allocated at the row.
  void grow(SiteRow& row, double megabytes, double percent_kept = 10) {
    constexpr double kSample = 512 << 10;
    row.history.in_trend = {true, megabytes * kMega, megabytes * kMega * kSample};
    Trend& t = s.history.live;
    t.state = Trend::State::kGrows;
    t.stretches = 5;
    t.bytes += megabytes * kMega;
    t.error = 100e3;
    t.allocated = t.bytes * 100 / percent_kept;
    t.ago_ns = 40'000'000'000;
    s.history.earlier_reports = 5;
  }
  /// Puts rows and details where the judge looks for them.
  void finish() {
    s.sites = rows.data();
    s.site_count = static_cast<std::uint32_t>(rows.size());
    name_sites(arena, rows, {});
    s.ledger.details = details.data();
    s.ledger.detail_count = static_cast<std::uint32_t>(details.size());
  }
  std::string judge_it() {
    finish();
    judge(arena, &s);
    REQUIRE(!s.verdict.text.empty());
    double sum = 0;
    for (const Finding& f : s.findings) sum += f.bytes.value;
    REQUIRE(sum <= static_cast<double>(s.ledger.rss_bytes) * 1.000001);
    return std::string(facts_of(s.verdict.cause).name);
  }
  std::string text() const { return std::string(s.verdict.text); }
};

/// 60 MiB of holes, and two sites that pin them in exact mode: each alone so much, so much together, and so
/// much with many others. All in MiB. \param set  lives as long as the process
inline void pin(Process& p, PinSet& set, double first, double second, double together,
                double crowded = 0) {
  p.move(Cause::kHoles, 60);
  p.s.recording.exact.on = true;
  p.rows.reserve(2);
  for (const double alone : {first, second}) {
    SiteRow& row = p.add_site(2, 200);
    row.hole_bytes = counted(30 * kMega);
    row.alone_bytes = counted((alone + 1) * kMega);
    row.alone_hole_bytes = counted(alone * kMega);
  }
  set = {(together + 2) * kMega, together * kMega, (first + second + together + 4) * kMega, {1, 2}, 2};
  Pins& pins = p.s.ledger.pins;
  pins.known = true;
  pins.alone_holes = (first + second) * kMega;
  pins.joint = set.bytes + crowded * kMega;
  pins.joint_holes = (together + crowded) * kMega;
  pins.crowded = crowded * kMega;
  pins.sets = {&set, 1};
}

}  // namespace made_up
