// SPDX-License-Identifier: Apache-2.0
// The report of processes made by hand, as text and as JSON, byte by byte: tests/unit/golden/report_*.
#include <unistd.h>

#include "report/judge/past.hpp"
#include "report/model/charge.hpp"
#include "report/write/json.hpp"
#include "report/write/text.hpp"
#include "tests/unit/golden.hpp"
#include "tests/unit/made_up_snapshot.hpp"

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

namespace {

/// What `write` sends to a sink, with the version of mallard left out.
std::string written(void (*write)(const Snapshot&, Sink&), const Snapshot& s) {
  char name[] = "/tmp/mallard-unit-XXXXXX";
  const int file = mkstemp(name);
  REQUIRE(file >= 0);
  unlink(name);
  {
    Sink to(file);
    write(s, to);
    REQUIRE(to.flush() == 0);
  }
  std::string text(static_cast<std::size_t>(lseek(file, 0, SEEK_END)), '\0');
  REQUIRE(pread(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  close(file);
  for (std::size_t at; (at = text.find(kVersion)) != std::string::npos;)
    text.replace(at, std::string_view(kVersion).size(), "VERSION");
  return text;
}

Estimate estimate(double value, double error) {
  return {value, error * error / 4, true, value - error, value + error};
}

/// A report with a different figure in each field that may have one.
struct Full : Process {
  ModuleRow modules[2] = {{"/bin/program", "00ff", 0x1000, 0x9000, 0x1000}, {"/lib/libx.so.6", "", 0x20000, 0x30000, 0}};
  Frame all_frames[5] = {{0x1010, 0, "/bin/program", 0x10, "keep_record", 4},
                         {0x1020, 0, "/bin/program", 0x20, "main", 6},
                         {0x20030, 1, "/lib/libx.so.6", 0x30, "", 0},
                         {0x40040, -1, "", 0, "", 0},
                         {0x20050, 1, "/lib/libx.so.6", 0x50, "operator new(unsigned long)", 9}};
  const Frame* stacks[3][3] = {{&all_frames[4], &all_frames[0], &all_frames[1]},
                               {&all_frames[2], &all_frames[1], nullptr},
                               {&all_frames[3], nullptr, nullptr}};
  record::ExactSizes sizes[2] = {{1, 16, 300, 200}, {1025, 1280, 40, 30}};
  PinSet sets[2] = {{50 * kMega, 30 * kMega, 70 * kMega, {1, 2}, 2}, {9 * kMega, 5 * kMega, 99 * kMega, {1, 2, 3}, 3}};
  OtherAllocator other{};
  BoundElsewhere bound{"/lib/deep.so", "/lib/libc.so.6", 3};
  PastPoint past[2] = {{1000, 90 << 20, 5e6, true, true, -7, {}}, {2000, 95 << 20, 0, false, false, 0, {}}};

  Full() : Process(200) {
    fill_process();
    fill_ledger();
    fill_recording();
    fill_sites();
    fill_rest();
  }
  void fill_process() {
    s.number = 12;
    s.reason = Reason::kSignal;
    s.process = {4711, 4700, 3, "/bin/program", "prog\x01ram", "program --serve \xff", 3'725'000'000'000, 951'782'400'000'000'000};
    s.rss = {true, true,     true,     230u << 20, 180u << 20, 40u << 20, 10u << 20,
             6u << 20, 8u << 20, 3u << 20,   2u << 20,   200u << 20, 290u << 20};
    s.charge = {true,   185u << 20, true, 1u << 20, true, 200u << 20, nullptr, {150u << 20, 70u << 20},
                nullptr};
    s.allocator.version = "5.3.0";
    s.allocator.statistic_count = 3;
    s.allocator.statistics[0].name = "allocated";
    s.allocator.statistics[0].bytes = 123u << 20;
    s.allocator.statistics[1].name = "active";
    s.allocator.statistics[1].bytes = 124u << 20;
    s.allocator.statistics[2].name = "committed";
    s.allocator.statistics[2].bytes = -4096;
  }
  void fill_ledger() {
    Ledger& l = s.ledger;
    for (int i = 0; i < kCauseCount; ++i) {
      l.lines[i].bytes = counted((3 + 5 * i) * kMega);
      l.lines[i].mappings = static_cast<std::uint64_t>(i);
    }
    for (const Cause cause : {Cause::kAnonymous, Cause::kFiles})
      l.lines[static_cast<int>(cause)].sharing = {7u << 20, 21u << 20};
    l.lines[static_cast<int>(Cause::kFiles)].dirty = 3u << 20;
    l.dirty_known = true;
    l.lines[static_cast<int>(Cause::kLive)].bytes = estimate(80 * kMega, 8 * kMega);
    l.lines[static_cast<int>(Cause::kHoles)].bytes = estimate(31 * kMega, 3 * kMega);
    l.lines[static_cast<int>(Cause::kUndivided)] = {};
    l.rss_bytes = 420u << 20;
    l.rss_before_bytes = 419u << 20;
    l.rss_after_bytes = 421u << 20;
    l.unexplained_bytes = -(17 << 10);
    l.looks = 2;
    l.heap_bytes = 170u << 20;
    l.huge_bytes = 12u << 20;
    l.thread_cached_bytes = 700 << 10;
    l.reads = 1234;
    l.raced = 5;
    l.unlogged_mappings = 2;
    l.scan_ns = 2'500'000;
    l.census_ns = 7'500'000;
    l.pinned_bytes = 130u << 20;
    l.unattributed_bytes = 4u << 20;
    l.uncovered_blocks = 6;
    l.live_compared = true;
    l.counted_live_bytes = 110 * kMega;
    l.recorded_live_bytes = estimate(97 * kMega, 4 * kMega);
    s.checks[static_cast<int>(CheckKind::kLines)] = {CheckState::kFailed, 422 * kMega, 420 * kMega, kMega, ""};
    l.rounding_known = true;
    l.examined = 0.75;
    details = {
        {Cause::kAnonymous, "/lib/libx.so.6", "jemalloc", 20u << 20, 3, 0x20030, &all_frames[2]},
        {Cause::kAnonymous, "", "", 10u << 20, 2, 0, nullptr},
        {Cause::kStacks, "main", "", 1u << 20, 1, 0, nullptr},
        {Cause::kFiles, "/var/\x1b[31mdata.db", "", 9u << 20, 4, 0, nullptr, {2u << 20, 7u << 20}, 3u << 20},
        {Cause::kFileCopies, "/var/data.db", "", 5u << 20, 1, 0, nullptr},
        {Cause::kShared, "/dev/shm/x", "", 2u << 20, 1, 0x1010, &all_frames[0]}};
  }
  void fill_recording() {
    Recording& r = s.recording;
    r.since_start = true;
    r.counters = {900, 300, 1, 2, 3, 4, 5};
    r.stacks = {1000, 20, 30, 40, 50, 60, 70};
    r.live_samples = 590;
    r.sites = 3;
    r.skipped_live = 7;
  }
  void fill_sites() {
    for (std::uint32_t i = 0; i < 3; ++i) {
      SiteRow& row = add_site(60 / (i + 1), 200 * (i + 1));
      row.frames = stacks[i];
      row.depth = static_cast<int>(3 - i);
      const double n = i + 1;
      row.live_bytes = i < 2 ? estimate(60 * kMega / n, 5 * kMega / n) : Estimate{2 * kMega, kMega * kMega, false, 0, 0};
      row.live_count = estimate(3000 / n, 100);
      row.allocated_bytes = estimate(90 * kMega * n, 9 * kMega);
      row.allocated_count = estimate(9000 * n, 300);
      row.resident_bytes = estimate(70 * kMega / n, 6 * kMega);
      row.resident_live_bytes = estimate(50 * kMega / n, 4 * kMega);
      row.hole_bytes = estimate(11 * kMega / n, kMega);
      row.at_peak_bytes = estimate(120 * kMega / n, 8 * kMega);
      row.largest_bytes = 4096 * (i + 1);
      row.oldest_ns = 90'000'000'000 / (i + 1);
      row.youngest_ns = 1'000'000'000 * i;
      row.mean_age_ns = 10'000'000'000 / (i + 1);
      row.history.largest_in_first = 1000;
      for (int k = 0; k < kBirthPeriods; ++k) row.history.born[k] = estimate((k + 1) * kMega, kMega / 8);
      row.history.since_first = {i < 2, 3 * kMega * (n - 1.4), kMega * kMega};
      row.history.since_previous = {i < 1, -kMega, kMega * kMega / 4};
    }
    s.live_bytes = estimate(92 * kMega, 7 * kMega);
    s.live_count = estimate(5500, 200);
    s.peak = {true, 12'000'000'000, estimate(230 * kMega, 10 * kMega), false};
    s.allocated_bytes = estimate(540 * kMega, 20 * kMega);
    s.allocated_count = estimate(54000, 900);
  }
  void fill_rest() {
    s.heap_resident_bytes = 170u << 20;
    s.own_bytes = 5u << 20;
    s.fragmentation_ratio = {2.125, 0, true, 2, 2.25};
    s.duration_ns = 33'000'000;
    s.inherited = true;
    s.inherited_live_bytes = estimate(9 * kMega, kMega);
    other.object = "/lib/libx.so.6";
    other.name = "jemalloc";
    other.version = "5.2.1";
    other.recognised_by = "its symbols";
    other.has_own_malloc = other.uses_brk = true;
    other.resident_bytes = 20u << 20;
    other.mapped_bytes = 30u << 20;
    other.brk_bytes = 1u << 20;
    other.why = "not asked for";
    other.next_step = "set ALLOC_EMBEDDED=redirect";
    s.other_allocators = {{&other, 1}, {&bound, 1}, 8u << 20};
    s.history.earlier_reports = 2;
    s.history.since_first = {true, 50'000'000'000, {true, 12 * kMega, kMega * kMega}, 9 << 20, true, {}};
    s.history.since_previous = {true, 10'000'000'000, {false, 0, 0}, -(1 << 20), false, {}};
    for (int i = 0; i < kCauseCount; ++i) {
      s.history.since_first.causes[i] = (i - 4) * (1 << 20);
      past[0].causes[i] = i * 1000;
    }
    s.history.past = {past, 3000};
    s.probe = {true, true, "malloc_trim(0)", "thread caches", "threads that free", nullptr, 230u << 20, 210u << 20, 180u << 20,
               161u << 20, 19u << 20, 4'000'000};
  }
  /// Every field of exact mode, too.
  void be_exact() {
    s.recording.exact = {true, true, {11, 12, 13, 64 << 10}, 5400, 5300, 2, 3u << 20};
    s.peak_bytes = 150u << 20;
    s.temporary_count = 2700;
    s.others.sites = 44;
    s.others.live_bytes = 3u << 20;
    s.others.live_count = 100;
    s.others.allocated_bytes = 5u << 20;
    s.others.allocated_count = 400;
    s.others.temporary_count = 50;
    s.others.resident_bytes = 4e6;
    s.others.resident_live_bytes = 2e6;
    s.others.hole_bytes = 1e6;
    s.others.alone_bytes = 5e5;
    s.others.alone_hole_bytes = 4e5;
    s.ledger.pins = {true, 60 * kMega, 20 * kMega, 65 * kMega, 40 * kMega, 2 * kMega, 3 * kMega, kMega, sets};
    s.before = {6 * kMega, 7 * kMega, 2 * kMega};
    for (SiteRow& row : rows) {
      row.peak_bytes = counted(77u << 20);
      row.alone_bytes = counted(row.resident_bytes.value / 2);
      row.alone_hole_bytes = counted(row.hole_bytes.value / 2);
      row.temporary_count = counted(123);
      row.sizes = sizes;
      for (Estimate SiteRow::*figure : {&SiteRow::live_bytes, &SiteRow::live_count, &SiteRow::allocated_bytes,
                                        &SiteRow::allocated_count, &SiteRow::resident_bytes, &SiteRow::hole_bytes})
        row.*figure = counted((row.*figure).value);
    }
    s.live_bytes = counted(s.live_bytes.value);
    s.allocated_bytes = counted(s.allocated_bytes.value);
  }
  /// The report in both forms, against the golden files of that name.
  void expect(const std::string& name) {
    s.modules = modules;
    s.frames = all_frames;
    judge_it();
    expect_golden((name + ".txt").c_str(), written([](const Snapshot& of, Sink& to) { write_text(of, {}, to); }, s));
    expect_golden((name + ".json").c_str(), written(write_json, s));
  }
};

}  // namespace

TEST_CASE("report texts: by samples, with all that can be known") { Full().expect("report_sampled"); }

TEST_CASE("report texts: exact mode, with all that can be known") {
  Full r;
  r.be_exact();
  r.expect("report_exact");
}

TEST_CASE("report texts: calls are timed, most of one operation and few of another") {
  Full r;
  r.s.ledger.free_memory.uncollected = 3u << 20;
  const LatencyRow calls[] = {
      {"malloc", 0, 1'234'567, 45.1, 9.3e6, {12.4, 36.4, 255, 1570, 123'456}},
      {"malloc", 128, 1'234'000, 40, 11'200, {12.4, 26.7, 124, 407, 1260}},
      {"malloc", UINT64_MAX, 567, 2040.5, 9.3e6, {362, 1660, 4330, 0, 0}},
      {"free", 0, 9, 20, 1.5e9, {17.1, 0, 0, 0, 0}},
      {"free", 1024, 1, 20, 20, {}},
  };
  SiteRow stacks[] = {r.rows[0]};
  const LatencySite sites[] = {{"free", 0, 41, {40, 39, 38, 37}, 1.6e9, 1.5e9},
                               {"malloc", LatencySite::kNoStack, 12'345, {1, 0, 0, 0}, 2.1e7, 9.3e6}};
  r.s.latency = {true, 64, 35'200'000'000, "clock_gettime", 21, 3, calls, 1000, 12'386, 1.621e9, sites, stacks};
  r.expect("report_latency");
}

TEST_CASE("report texts: a heap that cannot be divided, in a process that was attached to") {
  Full r;
  r.s.reason = Reason::kExit;
  r.s.process.threads = 1;
  r.s.ledger.divided = r.s.ledger.rounding_known = false;
  r.s.ledger.not_divided_why = "tcmalloc cannot be asked";
  for (const Cause cause : {Cause::kLive, Cause::kRounding, Cause::kHoles, Cause::kRetained, Cause::kMetadata})
    r.s.ledger.lines[static_cast<int>(cause)] = {};
  r.set(Cause::kUndivided, 170);
  r.s.recording.since_start = false;
  r.s.inherited = false;
  r.s.fragmentation_ratio.has_interval = false;
  r.s.other_allocators = {};
  r.s.history = {};
  r.s.probe = {true, false, nullptr, nullptr, nullptr, "the allocator has no call for it", 0, 0, 0, 0, 0, 0};
  r.s.allocator.statistic_count = 0;
  r.rows.resize(1);
  r.expect("report_undivided");
}

TEST_CASE("report texts: exact mode without a census, by pages") {
  Full r;
  r.be_exact();
  r.s.recording.exact.complete = r.s.recording.since_start = false;
  r.s.ledger.by_pages = true;
  r.s.ledger.examined = 1;
  r.s.ledger.method = ResidencyMethod::kPagemap;
  r.s.probe.asked = false;
  r.s.before = {};
  r.expect("report_by_pages");
}

TEST_CASE("report texts: nothing is recorded and /proc cannot be read") {
  Full r;
  r.s.rss = {};
  r.s.charge = charge_of(r.s.rss);
  r.s.ledger = {};
  r.s.ledger.why_not = "/proc/self/pagemap cannot be opened";
  r.details.clear();
  r.s.recording = {};
  r.s.recording.why_off = "ALLOC_MODE is off";
  r.s.allocator.bypassed = true;
  r.s.allocator.bypass_owner = "/lib/libasan.so";
  r.s.live_bytes = r.s.fragmentation_ratio = {};
  r.s.heap_is_bound = true;
  r.rows.clear();
  r.expect("report_nothing");
}

TEST_CASE("report texts: a sanitizer owns malloc, and nothing is live") {
  Full r;
  r.s.allocator.stepped_aside = true;
  r.s.rss.walked = r.s.rss.lazily_freed_known = false;
  r.s.charge = charge_of(r.s.rss);
  r.s.ledger = {};
  r.s.ledger.why_not = "there is no memory for it";
  r.details.clear();
  r.s.live_bytes = r.s.fragmentation_ratio = {};
  r.s.heap_is_bound = true;
  r.rows.clear();
  r.expect("report_nothing_live");
}
