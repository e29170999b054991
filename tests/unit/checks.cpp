// SPDX-License-Identifier: Apache-2.0
// The checks that a report makes of its own figures: each holds, each fails by figures made up for it.
#include "report/judge/checks.hpp"

#include <initializer_list>
#include <string>

#include "tests/unit/golden.hpp"
#include "tests/unit/made_up_snapshot.hpp"
#include "tests/unit/verdict_varied.hpp"

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;

namespace {

/// Makes a process whose figures agree of one that has 100 MB live: 20 of files, 10 shared.
void make_agree(made_up::Process& p) {
  Snapshot& s = p.s;
  p.set(Cause::kFiles, 20);
  p.set(Cause::kShared, 10);
  Ledger& l = s.ledger;
  l.method = ResidencyMethod::kPagemapScan;
  l.rss_bytes = l.rss_before_bytes = l.rss_after_bytes = 130u << 20;
  l.pinned_bytes = l.heap_bytes = 100u << 20;
  l.live_compared = true;
  l.counted_live_bytes = 100 * kMega;
  l.recorded_live_bytes = {98 * kMega, 4 * kMega * kMega, true, 94 * kMega, 102 * kMega};
  s.rss = {true, true, true, 130u << 20, 100u << 20, 20u << 20, 10u << 20};
  s.process.threads = 1;
  s.recording.live_samples = 200;
  s.allocator.statistic_count = 2;
  s.allocator.statistics[0] = {"allocated", 101 << 20};
  s.allocator.statistics[1] = {"resident", 104 << 20};
  p.add_site(98, 100).resident_bytes.value = 99 * kMega;
}

struct Agreeing : made_up::Process {
  Agreeing() : Process(100) { make_agree(*this); }
  Check check(CheckKind kind) {
    s.sites = rows.data();
    s.site_count = static_cast<std::uint32_t>(rows.size());
    check_figures(&s);
    return s.checks[static_cast<int>(kind)];
  }
  bool holds(CheckKind kind) { return check(kind).state == CheckState::kHeld; }
  bool fails(CheckKind kind) { return check(kind).state == CheckState::kFailed; }
};

}  // namespace

TEST_CASE("checks: figures that agree") {
  Agreeing p;
  for (int i = 0; i < kCheckCount; ++i) CHECK(p.holds(static_cast<CheckKind>(i)));
}

TEST_CASE("checks: lines beside RSS, unless it moved or its counters lag") {
  Agreeing p;
  p.set(Cause::kLive, 106);
  CHECK(p.fails(CheckKind::kLines));
  p.s.ledger.rss_before_bytes = 120u << 20;
  CHECK(p.holds(CheckKind::kLines));
  p.s.ledger.rss_before_bytes = 130u << 20;
  p.s.rss.walked = false;  // from counters
  p.s.process.threads = 20;
  CHECK(p.holds(CheckKind::kLines));
  p.set(Cause::kLive, 120);
  CHECK(p.fails(CheckKind::kLines));
}

TEST_CASE("checks: anonymous memory that is called files") {
  Agreeing p;
  p.set(Cause::kLive, 60);
  p.set(Cause::kFiles, 60);
  CHECK(p.holds(CheckKind::kLines));
  CHECK(p.fails(CheckKind::kFiles));
  CHECK(p.fails(CheckKind::kAnonymous));
  const Check files = p.check(CheckKind::kFiles);
  CHECK(files.ours == 70 * kMega);
  CHECK(files.theirs == 30 * kMega);
}

TEST_CASE("checks: files that are called shared memory") {
  Agreeing p;
  p.set(Cause::kFiles, 10);
  p.set(Cause::kShared, 20);
  CHECK(p.holds(CheckKind::kFiles));
  CHECK(p.fails(CheckKind::kShared));
}

TEST_CASE("checks: call sites that hold more than is pinned") {
  Agreeing p;
  p.rows[0].resident_bytes.value = 121 * kMega;
  CHECK(p.fails(CheckKind::kSites));
  p.s.ledger.freed_samples = 60;  // of 200 that were live
  CHECK(p.holds(CheckKind::kSites));
}

TEST_CASE("checks: samples that lie in no heap") {
  Agreeing p;
  p.s.ledger.uncovered_blocks = 40;
  CHECK(p.fails(CheckKind::kSamples));
  p.s.ledger.freed_samples = 30;
  CHECK(p.holds(CheckKind::kSamples));
  p.s.recording.exact.on = true;
  CHECK(p.check(CheckKind::kSamples).state == CheckState::kNotMade);
}

TEST_CASE("checks: more recorded than the allocator's marks hold to be live") {
  Agreeing p;
  p.s.ledger.recorded_live_bytes.value = 112 * kMega;
  CHECK(p.holds(CheckKind::kRecorded));  // within five errors
  p.s.ledger.recorded_live_bytes.value = 118 * kMega;
  CHECK(p.fails(CheckKind::kRecorded));
}

TEST_CASE("checks: the allocator's own figures") {
  Agreeing p;
  p.s.allocator.statistics[0].bytes = 90 << 20;
  CHECK(p.fails(CheckKind::kAllocated));
  p.s.allocator.statistics[1].bytes = 80 << 20;
  CHECK(p.fails(CheckKind::kHeap));
  p.s.allocator.statistics[0].bytes = -4096;  // no figure at all
  p.s.allocator.statistics[1].bytes = std::int64_t{1} << 60;
  CHECK(p.check(CheckKind::kAllocated).state == CheckState::kNotMade);
  CHECK(p.check(CheckKind::kHeap).state == CheckState::kNotMade);
}

TEST_CASE("checks: what is not known is not checked") {
  Agreeing p;
  p.s.ledger.method = ResidencyMethod::kMincore;
  CHECK(p.check(CheckKind::kLines).state == CheckState::kNotMade);
  CHECK(p.check(CheckKind::kFiles).state == CheckState::kNotMade);
  p.s.ledger.known = false;
  for (int i = 0; i < kCheckCount; ++i) {
    const Check check = p.check(static_cast<CheckKind>(i));
    CHECK(check.state == CheckState::kNotMade);
    CHECK_FALSE(check.why_not.empty());
  }
}

TEST_CASE("checks: why one is not made is said of each") {
  const auto why = [](CheckKind kind, auto change) {
    Agreeing p;
    change(p.s);
    const Check check = p.check(kind);
    REQUIRE(check.state == CheckState::kNotMade);
    return std::string(check.why_not);
  };
  const std::string not_divided = "the heap is not divided", not_recorded = "no call sites are recorded",
                    zeros = "this kernel does not tell pages of zeros that were only read";
  for (const CheckKind kind : {CheckKind::kSites, CheckKind::kSamples, CheckKind::kRecorded, CheckKind::kAllocated}) {
    CHECK(why(kind, [](Snapshot& s) { s.ledger.divided = false; }) == not_divided);
    CHECK(why(kind, [](Snapshot& s) { s.ledger.known = false; }) == not_divided);
    if (kind != CheckKind::kAllocated)
      CHECK(why(kind, [](Snapshot& s) { s.recording.on = false; }) == not_recorded);
  }
  CHECK(why(CheckKind::kRecorded, [](Snapshot& s) { s.ledger.live_compared = false; }) == not_divided);
  for (const CheckKind kind : {CheckKind::kSamples, CheckKind::kRecorded})
    CHECK(why(kind, [](Snapshot& s) { s.recording.exact.on = true; }) == "every block is booked");
  for (const CheckKind kind : {CheckKind::kAllocated, CheckKind::kHeap}) {
    CHECK(why(kind, [](Snapshot& s) { s.allocator.statistic_count = 0; }) == "the allocator does not say");
    CHECK(why(kind, [](Snapshot& s) {
            s.allocator.statistic_count = 0;
            s.reason = Reason::kDump;
          }) == "the allocator cannot be asked from outside");
  }
  for (const CheckKind kind : {CheckKind::kLines, CheckKind::kFiles, CheckKind::kAnonymous, CheckKind::kShared}) {
    CHECK(why(kind, [](Snapshot& s) { s.ledger.method = ResidencyMethod::kMincore; }) ==
          "the kernel's page tables cannot be read");
    CHECK(why(kind, [](Snapshot& s) { s.ledger.known = false; }) == "the resident memory cannot be looked at");
    if (kind != CheckKind::kLines)
      CHECK(why(kind, [](Snapshot& s) { s.rss.known = false; }) == "/proc is not readable");
  }
  CHECK(why(CheckKind::kHeap, [](Snapshot& s) { s.ledger.known = false; }) ==
        "the resident memory cannot be looked at");
  // By pagemap alone, more may be found than there is; less is compared.
  for (const CheckKind kind : {CheckKind::kLines, CheckKind::kAnonymous}) {
    const auto by_pagemap = [](double megabytes) {
      return [megabytes](Snapshot& s) {
        s.ledger.method = ResidencyMethod::kPagemap;
        s.ledger.lines[static_cast<int>(Cause::kLive)].bytes.value = megabytes * kMega;
      };
    };
    CHECK(why(kind, by_pagemap(101)) == zeros);
    Agreeing fewer;
    by_pagemap(90)(fewer.s);
    CHECK(fewer.fails(kind));
  }
}

namespace {

std::string checked(made_up::Process& p) {
  check_figures(&p.s);
  std::string to;
  for (int i = 0; i < kCheckCount; ++i) {
    const Check& check = p.s.checks[i];
    to += std::string(kChecks[i].name) + ' ' + std::string(kCheckStates[static_cast<int>(check.state)]);
    for (const double figure : {check.ours, check.theirs, check.tolerance})
      to += ' ' + std::to_string(static_cast<long long>(figure / 1000));
    if (!check.why_not.empty()) to += ": " + std::string(check.why_not);
    to += "; ";
  }
  return to;
}

}  // namespace

TEST_CASE("checks: what becomes of each with one figure that is another one") {
  verdict_varied::Table table(checked);
  table.add("figures that agree", make_agree, 100);
  table.add("in exact mode, by the kernel's counters, while memory moved", [](made_up::Process& p) {
    make_agree(p);
    p.s.recording.exact.on = true;
    p.s.rss.walked = false;
    p.s.process.threads = 7;
    p.s.ledger.rss_before_bytes -= 3u << 20;
    p.s.ledger.allocated_meanwhile = 5 * kMega;
  }, 100);
  table.add("without a census", [](made_up::Process& p) {
    make_agree(p);
    p.s.ledger.divided = false;
    p.s.ledger.method = ResidencyMethod::kPagemap;
    p.s.reason = Reason::kDump;
  }, 100);
  expect_golden("varied_checks.txt", table.take());
}
