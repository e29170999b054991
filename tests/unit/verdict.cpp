// SPDX-License-Identifier: Apache-2.0
// Verdicts of hand-made snapshots: every rule, both sides of each threshold.
#include "report/judge/verdict.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "report/judge/remember.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/made_up_snapshot.hpp"

using namespace mallard;
using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

namespace {

bool is_near(double a, double b) { return std::fabs(a - b) <= 1e-9 * std::fabs(b); }
bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("verdict: all live is nothing unusual") {
  Process p;
  p.add_site(100, 200);
  REQUIRE(p.judge_it() == "none");
  REQUIRE(has(p.text(), "100.0 MiB of the program's 100.0 MiB (100 %"));
  REQUIRE(has(p.text(), "keep_record (site 1)"));
  REQUIRE(p.s.findings.empty());
}

TEST_CASE("verdict: each cause of the ledger at its threshold, and just below") {
  struct Case {
    Cause cause;
    double share;
    const char* word;
  };
  for (const Case& c :
       {Case{Cause::kHoles, 30, "external_fragmentation"}, Case{Cause::kRetained, 40, "retention"},
        Case{Cause::kLazilyFreed, 30, "lazily_freed"}, Case{Cause::kAnonymous, 30, "second_allocator"},
        Case{Cause::kPastMallard, 30, "past_mallard"}, Case{Cause::kRounding, 30, "rounding"},
        Case{Cause::kShared, 30, "shared_memory"}, Case{Cause::kStacks, 30, "stacks"}}) {
    CAPTURE(c.word);
    Process above, below;
    above.s.ledger.rounding_known = below.s.ledger.rounding_known = true;
    above.move(c.cause, c.share + 0.1);
    below.move(c.cause, c.share - 0.1);
    REQUIRE(above.judge_it() == c.word);
    REQUIRE(below.judge_it() == "none");
  }
}

TEST_CASE("verdict: small processes and small causes are not alarmed about") {
  Process small(31.9), larger(32.1), cause(50), larger_cause(50);
  small.move(Cause::kHoles, 30);
  larger.move(Cause::kHoles, 30);
  cause.move(Cause::kHoles, 15.9);
  larger_cause.move(Cause::kHoles, 16.1);
  REQUIRE(small.judge_it() == "none");
  REQUIRE(has(small.text(), "small"));
  REQUIRE(larger.judge_it() == "external_fragmentation");
  REQUIRE(cause.judge_it() == "none");
  REQUIRE(larger_cause.judge_it() == "external_fragmentation");
}

TEST_CASE("verdict: what reaches a threshold exactly counts") {
  Process process(32);
  process.move(Cause::kHoles, 16);
  REQUIRE(process.judge_it() == "external_fragmentation");
}

TEST_CASE("verdict: an estimate counts with the low end of its interval") {
  Process p;
  p.move(Cause::kHoles, 35);
  p.s.ledger.lines[static_cast<int>(Cause::kHoles)].bytes.low = 29 * kMega;
  REQUIRE(p.judge_it() == "none");
  p.s.ledger.lines[static_cast<int>(Cause::kHoles)].bytes.low = 31 * kMega;
  REQUIRE(p.judge_it() == "external_fragmentation");
}

TEST_CASE("verdict: code and mallard's own are not the program's memory") {
  Process p(100);
  p.set(Cause::kLive, 20);
  p.set(Cause::kFiles, 60);
  p.set(Cause::kOwn, 20);
  p.details = {{.cause = Cause::kFiles, .name = "/bin/program", .bytes = 40u << 20, .mappings = 4},
               {.cause = Cause::kFiles, .name = "/lib/libx.so.6", .bytes = 20u << 20, .mappings = 4}};
  REQUIRE(p.judge_it() == "none");
  REQUIRE(has(p.text(), "20.0 MiB, which is small"));
  p.details[1].name = "/var/lib/db/data.mdb";  // 20 beside 20 MiB of other memory
  REQUIRE(p.judge_it() == "mapped_files");
  REQUIRE(has(p.text(), "data.mdb"));
  p.details[1].name = "/var/lib/db/my.sorted.dat";  // ".so" in a name makes no code
  REQUIRE(p.judge_it() == "mapped_files");
  REQUIRE(has(p.text(), "my.sorted.dat"));
  p.details[1].name = "/lib/libx.so.6 (deleted)";
  REQUIRE(p.judge_it() == "none");
}

TEST_CASE("verdict: the largest of several causes") {
  Process p(300);
  p.move(Cause::kRetained, 125);
  p.move(Cause::kHoles, 100);
  REQUIRE(p.judge_it() == "retention");
  p.set(Cause::kHoles, 130);
  REQUIRE(p.judge_it() == "external_fragmentation");
}

TEST_CASE("verdict: what is harmless is said, and never hides another finding") {
  Process p(300);
  p.set(Cause::kLive, 60);
  p.set(Cause::kHoles, 40);
  p.set(Cause::kFiles, 200);
  p.details = {{.cause = Cause::kFiles, .name = "/data.mdb", .bytes = 200u << 20}};
  REQUIRE(p.judge_it() == "external_fragmentation");
  REQUIRE(p.s.findings.size() == 2);
  REQUIRE(facts_of(p.s.findings[1].cause).name == "mapped_files");
}

TEST_CASE("verdict: the kernel takes clean files, but not private copies of them") {
  Process p(160);
  p.set(Cause::kLive, 40);
  p.set(Cause::kFileCopies, 120);
  p.details = {{.cause = Cause::kFileCopies, .name = "/data.db", .bytes = 120u << 20}};
  REQUIRE(p.judge_it() == "file_copies");
  p.details[0].name = "/lib/libx.so";  // data of code
  REQUIRE(p.judge_it() == "none");
}

TEST_CASE("verdict: free blocks in thread caches are no fragmentation") {
  Process p;
  p.move(Cause::kHoles, 60);
  p.s.ledger.thread_cached_bytes = 45u << 20;
  REQUIRE(p.judge_it() == "thread_caches");
  REQUIRE(p.s.findings.size() == 1);  // 15 MiB of holes are left
  p.s.ledger.thread_cached_bytes = 29u << 20;
  REQUIRE(p.judge_it() == "external_fragmentation");
  REQUIRE(p.s.verdict.bytes.value == 31 * kMega);
}

TEST_CASE("verdict: a heap that grows without live memory has free memory that does not fit") {
  Process p;
  p.move(Cause::kHoles, 40);
  p.s.history.heap = {Trend::State::kGrows, 5, 30 * kMega, 1e5, 900 * kMega, 40'000'000'000, 0};
  p.s.history.live = {Trend::State::kFlat, 5, 0, 1e5, 900 * kMega, 40'000'000'000, 0};
  REQUIRE(p.judge_it() == "unfit_free");
  p.s.history.live.bytes = 16 * kMega;  // half of the growth is live memory
  REQUIRE(p.judge_it() == "external_fragmentation");
  p.s.history.live.bytes = 0;
  p.s.peak.known = true;
  for (const double peak : {75.0, 85.0}) {  // of 100 in the heap; a quarter more than ever lived is allowed
    p.s.peak.bytes.value = peak * kMega;
    CHECK(p.judge_it() == (peak < 80 ? "unfit_free" : "external_fragmentation"));
  }
  p.s.peak.known = false;
  p.s.history.heap.state = Trend::State::kGrew;
  REQUIRE(p.judge_it() == "external_fragmentation");
}

TEST_CASE("verdict: pages that only thread caches keep are no retention") {
  for (const std::uint64_t pages : {20, 60}) {
    Process p;
    p.s.allocator.name = "system";
    p.move(Cause::kRetained, 80);
    p.s.ledger.free_memory.cached_pages = pages << 20;
    CHECK(p.judge_it() == (pages < 30 ? "retention" : "thread_caches"));
    CHECK(is_near(p.s.verdict.bytes.value, pages < 30 ? 80 * kMega : 60 * kMega));
  }
}

TEST_CASE("verdict: what lies in the tops of glibc's arenas is no retention") {
  for (const double tops : {29.9, 30.1}) {
    CAPTURE(tops);
    Process p;
    p.s.allocator.name = "system";
    p.move(Cause::kRetained, 75);
    p.s.ledger.arenas = 6;
    p.s.allocator.version = "glibc 2.36";
    p.s.ledger.arena_top_bytes = p.s.ledger.free_memory.top_excess = static_cast<std::uint64_t>(tops * kMega);
    REQUIRE(p.judge_it() == "retention");
    const bool is_found = p.s.findings.size() == 2;
    CHECK(is_found == (tops > 30));
    const auto apart = static_cast<double>(p.s.ledger.arena_top_bytes);
    CHECK(is_near(p.s.verdict.bytes.value, 75 * kMega - (is_found ? apart : 0)));
    if (!is_found) continue;
    CHECK(p.s.findings[1].cause == VerdictCause::kArenaTops);
    CHECK(has(std::string(p.s.findings[1].next_step),
              "glibc.malloc.trim_threshold=131072 would save about 30.1 MiB"));
  }
  Process all;
  all.s.allocator.name = "system";
  all.move(Cause::kRetained, 60);
  all.s.ledger.arena_top_bytes = std::uint64_t{60} << 20;
  REQUIRE(all.judge_it() == "arena_tops");
  REQUIRE(all.s.findings.size() == 1);
}

TEST_CASE("verdict: free memory beyond all that ever lived does not fit") {
  const auto judged = [](double peak, const char* backend, bool exact) {
    Process p;
    p.s.allocator.name = backend;
    p.s.recording.exact.on = p.s.recording.exact.complete = exact;
    p.move(Cause::kRetained, 80);
    p.s.peak_bytes = static_cast<std::uint64_t>(peak * kMega);
    return p.judge_it();
  };
  CHECK(judged(55.9, "system", true) == "unfit_free");  // 100 less 1.25 times that is 30 % and a little
  CHECK(judged(56.1, "system", true) == "retention");
  CHECK(judged(90, "system", true) == "retention");   // what a burst left behind
  CHECK(judged(20, "system", false) == "retention");  // samples know no peak
  Process filled_in_turn;
  filled_in_turn.s.allocator.name = "system";
  filled_in_turn.s.recording.exact.on = filled_in_turn.s.recording.exact.complete = true;
  filled_in_turn.move(Cause::kRetained, 80);
  filled_in_turn.s.peak_bytes = std::uint64_t{20} << 20;
  for (const std::uint64_t in_arenas : {45, 55}) {  // of 80; a heap's finding begins at 30
    filled_in_turn.s.ledger.arenas = 1;
    filled_in_turn.s.ledger.free_memory.in_arenas = in_arenas << 20;
    CHECK(filled_in_turn.judge_it() == (in_arenas < 50 ? "unfit_free" : "retention"));
  }
  CHECK(judged(20, "jemalloc", true) == "retention");
}

TEST_CASE("verdict: with two reports retention may be memory that requests do not fit into") {
  Process p;
  p.s.allocator.name = "system";
  p.move(Cause::kRetained, 60);
  REQUIRE(p.judge_it() == "retention");
  CHECK(std::string(p.s.verdict.title) == "retention");
  p.s.history.heap = {Trend::State::kGrew, 2, 40 * kMega, 1e5, 900 * kMega, 40'000'000'000, 0};
  REQUIRE(p.judge_it() == "retention");
  CHECK(has(std::string(p.s.verdict.title), "or free memory that requests do not fit into: not told yet"));
  p.s.history.live.bytes = 21 * kMega;  // the program has more to keep, too
  REQUIRE(p.judge_it() == "retention");
  CHECK(std::string(p.s.verdict.title) == "retention");
}

TEST_CASE("verdict: several allocators are judged one by one") {
  Process p(200);
  p.move(Cause::kAnonymous, 90);
  OtherAllocator others[2]{};
  others[0].object = "/lib/engine.so";
  others[0].name = "mimalloc";
  others[1].object = "/lib/runtime.so";
  others[1].name = "V8";
  others[1].is_managed = true;
  p.details = {
      {.cause = Cause::kAnonymous, .name = "/lib/engine.so", .allocator = "mimalloc", .bytes = 41u << 20},
      {.cause = Cause::kAnonymous, .name = "/lib/runtime.so", .allocator = "V8", .bytes = 49u << 20}};
  p.s.other_allocators.allocators = others;
  others[0].resident_bytes = 41u << 20;
  others[1].resident_bytes = 49u << 20;
  REQUIRE(p.judge_it() == "second_allocator");  // from a fifth of memory on; a runtime's heap from 30 %
  REQUIRE(p.s.findings.size() == 1);
  others[0].resident_bytes = 29u << 20;
  others[1].resident_bytes = 61u << 20;
  REQUIRE(p.judge_it() == "runtime_heap");
}

TEST_CASE("verdict: a runtime's heap in shared memory is the runtime's") {
  Process p;
  p.move(Cause::kShared, 60);
  p.details = {
      {.cause = Cause::kShared, .name = "memfd java_heap", .allocator = "a Java heap", .bytes = 60u << 20}};
  REQUIRE(p.judge_it() == "runtime_heap");
  REQUIRE(has(p.text(), "60.0 MiB of the program's 100.0 MiB (60 %) are a Java heap, in shared memory (memfd java_heap)"));
  p.details[0].allocator = "";
  REQUIRE(p.judge_it() == "shared_memory");
}

TEST_CASE("verdict: growth is a leak from 8 MiB and 2 % of memory on") {
  Process p;
  p.grow(p.add_site(60, 200), 7.9);
  REQUIRE(p.judge_it() == "none");
  Process large(400);
  large.grow(large.add_site(60, 200), 8.1);
  REQUIRE(large.judge_it() == "leak");
  REQUIRE(large.s.verdict.sites[0] == 1);
  REQUIRE(has(large.text(), "8.10 MiB were not given back"));
  Process larger(410);
  larger.grow(larger.add_site(60, 200), 8.1);
  REQUIRE(larger.judge_it() == "none");
}

TEST_CASE("verdict: births tell a leak only after ten minutes, spread evenly, with hardly any frees") {
  const auto with = [](std::uint64_t seconds, double last_quarter, double kept) {
    Process p;
    SiteRow& row = p.add_site(60, 200);
    row.allocated_bytes.value = row.live_bytes.value / kept;
    for (Estimate& e : row.history.born) e.value = (1 - last_quarter) / 3 * row.live_bytes.value;
    row.history.born[3].value = last_quarter * row.live_bytes.value;
    p.s.recording.since_ns = seconds * 1'000'000'000;
    p.s.history.live.state = Trend::State::kTooFew;
    return p.judge_it();
  };
  REQUIRE(with(601, 0.25, 0.95) == "leak");
  REQUIRE(with(599, 0.25, 0.95) == "none");
  REQUIRE(with(601, 0.09, 0.95) == "none");  // a table that was complete before
  REQUIRE(with(601, 0.11, 0.95) == "leak");
  REQUIRE(with(601, 0.25, 0.79) == "none");  // a cache: what is live now is a part of what was made
  REQUIRE(with(601, 0.25, 0.81) == "leak");
}

TEST_CASE("verdict: a probe proves retention, or does not") {
  Process p;
  p.move(Cause::kRetained, 60);
  p.s.probe.asked = p.s.probe.done = true;
  p.s.probe.given_back = 58u << 20;
  REQUIRE(p.judge_it() == "retention");
  REQUIRE(has(p.text(), "proved it: 58.0 MiB"));
  p.s.probe.given_back = 0;
  REQUIRE(p.judge_it() == "retention");
  REQUIRE(has(p.text(), "gave back 0 B."));
}

TEST_CASE("verdict: the words are those of this report") {
  Process glibc;
  glibc.s.allocator.name = "system";
  glibc.move(Cause::kRetained, 60);
  REQUIRE(glibc.judge_it() == "retention");
  REQUIRE(has(glibc.text(), "free pages that glibc keeps"));
  Process holes;
  holes.move(Cause::kHoles, 60);
  REQUIRE(holes.judge_it() == "external_fragmentation");
  REQUIRE(has(std::string(holes.s.verdict.next_step), "mallard dump --purge 4711 shows how much"));
  holes.s.probe.done = true;
  holes.s.probe.given_back = 24u << 20;
  holes.judge_it();
  REQUIRE(has(holes.text(), "The purge probe gave back 24.0 MiB."));
  holes.s.probe.done = false;
  holes.s.reason = Reason::kExit;  // nobody can ask it any more
  holes.judge_it();
  REQUIRE_FALSE(has(std::string(holes.s.verdict.next_step), "mallard dump"));
}

namespace {

/// See made_up::pin().
struct Pinned : Process {
  PinSet set{};
  Pinned(double first, double second, double together, double crowded = 0) {
    made_up::pin(*this, set, first, second, together, crowded);
  }
  std::string next() const { return std::string(s.verdict.next_step); }
};

}  // namespace

TEST_CASE("verdict: who has to move follows from what goes back, not from shares") {
  Pinned alone(40, 2, 18);
  REQUIRE(alone.judge_it() == "external_fragmentation");
  REQUIRE(has(alone.text(), "Most is pinned by keep_record (site 1) alone: 40.0 MiB of holes"));
  REQUIRE(has(alone.text(), "If they leave, 41.0 MiB go back."));
  REQUIRE(has(alone.next(), "in a pool of their own"));

  Pinned both(0, 1, 59);
  REQUIRE(both.judge_it() == "joint_pinning");
  REQUIRE(has(both.text(),
              "61.0 MiB lie on pages that keep_record (site 1) and keep_record (site 2) pin together: "
              "both must move. If both leave, 64.0 MiB go back; if one of them leaves alone, 2.00 MiB"));
  REQUIRE(has(both.next(), "both sites"));
  REQUIRE(both.s.verdict.site_count == 2);

  Pinned nearly(21, 10, 29);  // a little less than half is joint, and nobody has most of it alone
  REQUIRE(nearly.judge_it() == "external_fragmentation");
  REQUIRE(has(nearly.next(), "to move those of one gives back little"));
  REQUIRE_FALSE(has(nearly.next(), "a pool"));

  Pinned many(1, 1, 8, 50);  // the leading set has less than a quarter of it
  REQUIRE(many.judge_it() == "joint_pinning");
  REQUIRE(has(many.text(), "many sets of sites"));
  REQUIRE_FALSE(has(many.next(), "apart"));
}

TEST_CASE("verdict: samples tell a share, which advises no pool") {
  Pinned sampled(0, 0, 60);
  sampled.s.recording.exact.on = false;
  sampled.s.ledger.pins = {};
  for (SiteRow& row : sampled.rows) row.alone_bytes = row.alone_hole_bytes = {};
  sampled.rows[0].hole_bytes = counted(50 * kMega);
  REQUIRE(sampled.judge_it() == "external_fragmentation");
  REQUIRE(has(sampled.text(), "Most is the share of keep_record (site 1): 50.0 MiB of holes"));
  REQUIRE(has(sampled.next(), "ALLOC_MODE=exact"));
  REQUIRE_FALSE(has(sampled.next(), "pool"));
  sampled.rows[0].alone_bytes = {55 * kMega, 0, true, 50 * kMega, 60 * kMega};
  sampled.rows[0].alone_hole_bytes = {50 * kMega, 0, true, 45 * kMega, 55 * kMega};
  sampled.judge_it();
  REQUIRE(has(sampled.next(), "in a pool of their own"));
}

TEST_CASE("verdict: what is not known is said") {
  Process unknown;
  unknown.s.ledger.known = false;
  unknown.s.ledger.why_not = "/proc/self/maps cannot be read";
  REQUIRE(unknown.judge_it() == "none");
  REQUIRE(has(unknown.text(), "/proc/self/maps cannot be read"));
  Process undivided;
  undivided.s.ledger.divided = false;
  undivided.s.ledger.not_divided_why = "nobody knows how";
  undivided.move(Cause::kUndivided, 100);
  REQUIRE(undivided.judge_it() == "none");
  REQUIRE(has(undivided.text(), "nobody knows how"));
}

TEST_CASE("growth: blocks that are live in both reports add no error") {
  forget_reports();
  std::vector<SiteRow> rows(2);
  std::vector<record::LiveBlock> blocks;
  const auto compare = [&](Snapshot& s) {
    for (std::uint32_t i = 0; i < rows.size(); ++i) rows[i] = {}, rows[i].id = i;
    s.live_bytes = {};
    for (const record::LiveBlock& b : blocks) {
      rows[1].live_bytes.add(b.weight, static_cast<double>(b.asked_bytes));
      s.live_bytes.add(b.weight, static_cast<double>(b.asked_bytes));
    }
    RecordCopy books;
    books.rows = rows.data();
    books.row_count = static_cast<std::uint32_t>(rows.size());
    books.blocks = blocks;
    books.read_ns = os::monotonic_ns();
    compare_sites(books, &s);
    s.sites = rows.data();
    s.site_count = static_cast<std::uint32_t>(rows.size());
    s.recording.on = true;
    compare_and_remember(&s);
  };
  const auto add = [&](std::uint64_t born_ns) {
    blocks.push_back({0x1000, 1000, 100, born_ns, record::SiteId{1}, 0});
  };
  for (int i = 0; i < 400; ++i) add(1);
  Snapshot first{}, second{}, third{};
  compare(first);
  REQUIRE_FALSE(rows[1].history.since_first.known);
  const double one = 100.0 * 99 * 1000 * 1000;  // variance of one sample
  blocks.pop_back();                            // one freed
  for (int i = 0; i < 20; ++i) add(os::monotonic_ns() + 1);
  compare(second);
  const Growth& g = rows[1].history.since_first;
  REQUIRE(g.known);
  REQUIRE(is_near(g.bytes, 19 * 100e3));
  REQUIRE(is_near(g.variance, 21 * one));
  REQUIRE(g.low(1.96) > 0);
  REQUIRE(is_near(second.history.since_first.live.variance, 21 * one));
  REQUIRE(second.history.earlier_reports == 1);
  compare(third);
  REQUIRE(rows[1].history.since_previous.bytes == 0);
  REQUIRE(rows[1].history.since_previous.variance == 0);
  REQUIRE(is_near(rows[1].history.since_first.bytes, 19 * 100e3));
  forget_reports();
}

TEST_CASE("growth: reports of different books are not compared") {
  forget_reports();
  std::vector<SiteRow> rows(1);
  const auto compare = [&](Snapshot& s, bool exact, double live) {
    rows[0] = {};
    rows[0].live_bytes = s.live_bytes = counted(live);
    s.recording.on = true;
    s.recording.exact.on = exact;
    RecordCopy books;
    books.rows = rows.data();
    books.row_count = 1;
    books.read_ns = os::monotonic_ns();
    compare_sites(books, &s);
    s.sites = rows.data();
    s.site_count = 1;
    compare_and_remember(&s);
  };
  Snapshot sampled{}, first{}, second{};
  compare(sampled, false, 100);
  compare(first, true, 1000);
  REQUIRE_FALSE(rows[0].history.since_previous.known);
  compare(second, true, 1500);
  REQUIRE(rows[0].history.since_previous.known);
  REQUIRE(rows[0].history.since_previous.bytes == 500);
  REQUIRE(rows[0].history.since_previous.variance == 0);
  REQUIRE(rows[0].history.since_first.bytes == 500);  // the first of these books
  forget_reports();
}
