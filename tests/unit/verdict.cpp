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
  REQUIRE(has(p.text(), "100.0 MiB of the 100.0 MiB (100 %"));
  REQUIRE(has(p.text(), "keep_record (site 1)"));
  REQUIRE(has(std::string(p.s.verdict.next_step), "mallard dump 4711"));
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
        Case{Cause::kShared, 30, "mapped_files"}, Case{Cause::kStacks, 30, "stacks"}}) {
    CAPTURE(c.word);
    Process above, below;
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
  p.details = {{Cause::kFiles, "/bin/program", "", 40u << 20, 4, 0, nullptr},
               {Cause::kFiles, "/lib/libx.so.6", "", 20u << 20, 4, 0, nullptr}};
  REQUIRE(p.judge_it() == "none");
  p.details[1].name = "/var/lib/db/data.mdb";  // 20 of the 40 MiB that are left
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

TEST_CASE("verdict: growth beyond its error is a leak, growth within it is not") {
  Process p;
  SiteRow& row = p.add_site(60, 200);
  p.grow(row, 30, 8);  // 60 samples: 7.7 standard errors
  REQUIRE(p.judge_it() == "leak");
  REQUIRE(p.s.verdict.sites[0] == 1);
  REQUIRE(has(p.text(), "30.0 MiB more"));
  REQUIRE(has(p.text(), "small"));
  row.history.since_first.variance = 10 * kMega * 10 * kMega;  // 3 standard errors
  REQUIRE(p.judge_it() == "none");
  row.history.since_first.variance = 9 * kMega * 9 * kMega;  // 3.33
  REQUIRE(p.judge_it() == "leak");
}

TEST_CASE("verdict: growth below a tenth of memory is none, however sure") {
  Process p(400);
  SiteRow& row = p.add_site(300, 200);
  p.grow(row, 39, 10);
  REQUIRE(p.judge_it() == "none");
  p.grow(row, 41, 10);
  REQUIRE(p.judge_it() == "leak");
}

TEST_CASE("verdict: growth that has come to an end is none") {
  Process p;
  SiteRow& row = p.add_site(80, 200);
  p.grow(row, 80, 0);  // 20 MiB expected since the latest report, 0 seen; 2 allowed unseen
  REQUIRE(p.judge_it() == "none");
  p.grow(row, 80, 5);
  REQUIRE(p.judge_it() == "leak");
  // Too little was to be expected for its absence to mean anything.
  p.grow(row, 80, 0);
  p.s.history.since_previous.ago_ns = 100'000'000;
  REQUIRE(p.judge_it() == "leak");
}

TEST_CASE("verdict: few large blocks are an arena's, and ratchet if they grow") {
  Process p;
  SiteRow& row = p.add_site(60, 64 << 10);
  p.grow(row, 40, 10);
  REQUIRE(p.judge_it() == "leak");
  REQUIRE(has(p.text(), "chunks of an arena"));
  row.live_count.value = 2;
  row.history.largest_in_first = 1 << 20;
  row.largest_bytes = 40 << 20;
  REQUIRE(p.judge_it() == "leak");
  REQUIRE(has(p.text(), "largest chunk it ever needed"));
}

TEST_CASE("verdict: births tell a leak only after ten minutes, spread evenly, with hardly any frees") {
  const auto with = [](std::uint64_t seconds, double last_quarter, double kept) {
    Process p;
    SiteRow& row = p.add_site(60, 200);
    row.allocated_bytes.value = row.live_bytes.value / kept;
    for (Estimate& e : row.history.born) e.value = (1 - last_quarter) / 3 * row.live_bytes.value;
    row.history.born[3].value = last_quarter * row.live_bytes.value;
    p.s.recording.since_ns = seconds * 1'000'000'000;
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
  REQUIRE(has(p.text(), "gave back 0 B of it"));
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
  REQUIRE(has(std::string(holes.s.verdict.next_step), "mallard dump --purge 4711 proves it."));
  holes.s.probe.done = true;
  holes.judge_it();
  REQUIRE(has(std::string(holes.s.verdict.next_step), "as the probe below shows."));
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

TEST_CASE("growth: exact books know it to the byte; a byte more is not yet growth of a site") {
  Process p;
  p.s.recording.exact.on = true;
  SiteRow row{};
  const auto grow = [&](double before, double after) {
    row.live_bytes = counted(after);
    row.history.since_first = {true, after - before, 0};
    return grows(row, p.s);
  };
  REQUIRE(grow(10 * kMega, 11.1 * kMega));
  REQUIRE_FALSE(grow(10 * kMega, 10.9 * kMega));
  REQUIRE_FALSE(grow(1000, 60000));
  REQUIRE(grow(0, 70000));
  REQUIRE_FALSE(grow(11 * kMega, 10 * kMega));
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
