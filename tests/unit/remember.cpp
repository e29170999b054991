// SPDX-License-Identifier: Apache-2.0
// What a report remembers for the next one: births, ledgers, call sites, points in time.
#include "report/judge/remember.hpp"

#include <initializer_list>
#include <tuple>
#include <vector>

#include "report/judge/past.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

/// Sampled books with one row for each site, as the reports below have them.
struct Report {
  std::vector<SiteRow> rows;
  std::vector<record::LiveBlock> blocks;
  Snapshot s{};
  RecordCopy books;

  explicit Report(std::uint32_t sites = 2) : rows(sites) {
    for (std::uint32_t i = 0; i < sites; ++i) rows[i].id = i;
    s.recording.on = true;
    s.ledger.known = s.ledger.divided = true;
    books.read_ns = record::started_ns() + 4000;
  }
  void add(std::uint32_t site, double weight, std::uint64_t bytes, std::uint64_t born_ns) {
    blocks.push_back({0x1000, bytes, weight, born_ns, record::SiteId{site}, 0});
  }
  /// Reads, compares and remembers.
  void take() {
    books.rows = rows.data();
    books.row_count = static_cast<std::uint32_t>(rows.size());
    books.blocks = blocks;
    compare_sites(books, &s);
    s.sites = rows.data();
    s.site_count = static_cast<std::uint32_t>(rows.size());
    compare_and_remember(&s);
  }
};

}  // namespace

TEST_CASE("remember: births are counted by quarters of the recording") {
  forget_reports();
  Report r;
  const std::uint64_t began = record::started_ns();
  for (const std::uint64_t after : {0, 999, 1000, 1999, 2000, 3000, 3999, 4000, 9000}) r.add(1, 10, 100, began + after);
  if (began > 0) r.add(1, 10, 100, began - 1);
  r.take();
  const auto& born = r.rows[1].history.born;
  const int before = began > 0;
  CHECK(born[0].value == 1000 * (2 + before));
  CHECK(born[1].value == 2000);
  CHECK(born[2].value == 1000);
  CHECK(born[3].value == 4000);
  CHECK(born[1].variance == 2 * 10. * 9 * 100 * 100);
  CHECK(r.rows[0].history.born[0].value == 0);
  CHECK_FALSE(born[3].has_interval);  // four samples are too few
  for (int i = 0; i < 100; ++i) r.add(1, 10, 100, began + 3500);
  r.take();
  CHECK(r.rows[1].history.born[3].has_interval);
  const Estimate late = r.rows[1].history.born_in_last_half();
  CHECK(late.value == r.rows[1].history.born[2].value + r.rows[1].history.born[3].value);
  CHECK(late.has_interval);
  forget_reports();
}

TEST_CASE("remember: in exact mode a block that is older than the recording was not born in it") {
  forget_reports();
  record::exact_prepare();
  record::exact_begin();
  const std::uint64_t began = record::exact_since_ns();
  Report r;
  r.s.recording.exact.on = r.books.exact = true;
  r.books.read_ns = began + 4000;
  r.add(1, 1, 100, began - 1);
  r.add(1, 1, 100, began);
  r.take();
  CHECK(r.rows[1].history.born[0].value == 100);
  record::exact_end();
  forget_reports();
}

TEST_CASE("remember: changes of RSS and of each cause since the first and the previous report") {
  forget_reports();
  Report first, second, third;
  const auto set = [](Report& r, std::uint64_t rss, double holes, double own) {
    r.s.rss.total = rss;
    r.s.ledger.lines[static_cast<int>(Cause::kHoles)].bytes.value = holes;
    r.s.ledger.lines[static_cast<int>(Cause::kOwn)].bytes.value = own;
  };
  set(first, 1000, 100, 10);
  set(second, 1500, 70, 11);
  set(third, 1400, 90, 13);
  second.books.read_ns += 5000;
  third.books.read_ns += 6000;
  first.take();
  CHECK(first.s.history.earlier_reports == 0);
  CHECK_FALSE(first.s.history.since_first.known);
  CHECK_FALSE(first.s.history.since_previous.known);
  second.take();
  CHECK(second.s.history.since_first.ago_ns == 5000);
  CHECK(second.s.history.since_first.rss_bytes == 500);
  third.take();
  CHECK(third.s.history.earlier_reports == 2);
  const Change &since_first = third.s.history.since_first, &since_second = third.s.history.since_previous;
  CHECK(since_first.ago_ns == 6000);
  CHECK(since_first.rss_bytes == 400);
  REQUIRE(since_first.causes_known);
  CHECK(since_first.causes[static_cast<int>(Cause::kHoles)] == -10);
  CHECK(since_first.causes[static_cast<int>(Cause::kOwn)] == 3);
  CHECK(since_first.causes[static_cast<int>(Cause::kLive)] == 0);
  CHECK(since_second.ago_ns == 1000);
  CHECK(since_second.rss_bytes == -100);
  CHECK(since_second.causes[static_cast<int>(Cause::kHoles)] == 20);
  forget_reports();
}

TEST_CASE("remember: a child does not know of the only report of its parent") {
  forget_reports();
  Report first, second;
  first.take();
  forget_reports();
  second.take();
  CHECK_FALSE(second.s.history.since_first.known);
  CHECK(second.s.history.earlier_reports == 0);
  CHECK(second.s.history.past.points.empty());
  forget_reports();
}

TEST_CASE("remember: ledgers that were not divided alike are not compared") {
  for (int what = 0; what < 4; ++what) {
    forget_reports();
    Report first, second;
    if (what == 1) first.s.ledger.known = false;
    if (what == 2) second.s.ledger.known = false;
    if (what == 3) second.s.ledger.divided = false;
    first.take();
    second.take();
    CAPTURE(what);
    CHECK(second.s.history.since_first.known);
    CHECK(second.s.history.since_first.causes_known == (what == 0));
    CHECK(second.s.history.since_previous.causes_known == (what == 0));
  }
  forget_reports();
}

TEST_CASE("remember: growth of a site, with the largest block of the first report") {
  forget_reports();
  Report first(3), second(4);
  first.rows[1].live_bytes = {5000, 300, false, 0, 0};
  first.rows[1].largest_bytes = 77;
  second.rows[1].live_bytes = {7000, 500, false, 0, 0};
  second.rows[3].live_bytes = {900, 40, false, 0, 0};  // a new one
  first.s.live_bytes = {5000, 300, false, 0, 0};
  second.s.live_bytes = {7900, 540, false, 0, 0};
  second.add(1, 2, 10, first.books.read_ns);      // lived then: w (w - 1) x^2 = 200
  second.add(1, 2, 10, first.books.read_ns + 1);  // did not
  second.books.read_ns += 1000;
  first.take();
  second.take();
  const Growth& g = second.rows[1].history.since_first;
  REQUIRE(g.known);
  CHECK(g.bytes == 2000);
  CHECK(g.variance == (500 - 200) + (300 - 200));
  CHECK(second.rows[1].history.largest_in_first == 77);
  CHECK(second.rows[3].history.since_first.known);
  CHECK(second.rows[3].history.since_first.bytes == 900);
  CHECK(second.rows[3].history.since_first.variance == 40);
  CHECK(second.rows[3].history.largest_in_first == 0);
  CHECK(second.s.history.since_first.live.bytes == 2900);
  CHECK(second.s.history.since_first.live.variance == (540 - 200) + (300 - 200));
  forget_reports();
}

TEST_CASE("remember: of more sites than have room, growth is known of those that were remembered") {
  constexpr std::uint32_t kRoom = 8192;
  for (const std::uint32_t sites : {kRoom, kRoom + 1}) {
    forget_reports();
    Report first(sites), second(sites + 1);
    for (SiteRow& row : first.rows) row.live_bytes.value = 5;
    for (SiteRow& row : second.rows) row.live_bytes.value = 6;
    first.take();
    second.take();
    CAPTURE(sites);
    CHECK(second.rows[kRoom - 1].history.since_first.bytes == 1);
    CHECK(second.rows[sites].history.since_first.known == (sites == kRoom));
    if (sites > kRoom) CHECK_FALSE(second.rows[kRoom].history.since_first.known);
  }
  forget_reports();
}

TEST_CASE("remember: sites without a row of their own may be any that is new") {
  forget_reports();
  Report first(2), second(3);
  first.s.others.sites = 1;
  second.rows[2].live_bytes.value = 100;
  first.take();
  second.take();
  CHECK(second.rows[1].history.since_first.known);
  CHECK_FALSE(second.rows[2].history.since_first.known);
  forget_reports();
}

TEST_CASE("remember: a heap grows by holes, and by what it keeps where that does not come and go by itself") {
  constexpr double kMega = 1 << 20;
  for (const auto& [allocator, cause, grows] : {std::tuple("system", Cause::kRetained, true),
                                                {"jemalloc", Cause::kRetained, false},
                                                {"mimalloc", Cause::kRetained, false},
                                                {"jemalloc", Cause::kHoles, true},
                                                {"system", Cause::kMetadata, false}}) {
    CAPTURE(allocator, static_cast<int>(cause));
    forget_reports();
    Report r;
    r.s.allocator.name = allocator;
    r.s.ledger.examined = 1;
    r.s.ledger.lines[static_cast<int>(Cause::kLive)].bytes = {50 * kMega, 0, true, 50 * kMega, 50 * kMega};
    for (int i = 1; i <= 5; ++i) {
      r.books.read_ns += 1'000'000'000;
      r.s.allocated_bytes.value = 200 * kMega * i;
      r.s.allocated_count.value = 5000 * i;
      r.s.ledger.lines[static_cast<int>(cause)].bytes.value = 10 * kMega * i;
      r.take();
    }
    CHECK((r.s.history.heap.state == Trend::State::kGrows) == grows);
    CHECK(r.s.history.live.state != Trend::State::kGrows);
  }
  forget_reports();
}

TEST_CASE("remember: where the heap is not divided, live memory is what the books say") {
  constexpr double kMega = 1 << 20;
  forget_reports();
  Report r;
  r.s.ledger.divided = false;
  for (int i = 1; i <= 5; ++i) {
    r.books.read_ns += 1'000'000'000;
    r.add(1, 1, 10 << 20, r.books.read_ns - 1000);
    r.s.allocated_bytes.value = 200 * kMega * i;
    r.s.allocated_count.value = 5000 * i;
    r.s.live_bytes = counted(50 * kMega + 10 * kMega * i);
    r.take();
  }
  CHECK(r.s.history.live.state == Trend::State::kGrows);
  CHECK(r.s.history.heap.state != Trend::State::kGrows);
  forget_reports();
}

TEST_CASE("past: points are kept in order, and every second one goes when there are too many") {
  forget_points();
  Snapshot s{};
  s.ledger.known = s.recording.on = true;
  for (std::uint64_t i = 0; i < kPastPoints; ++i) {
    s.rss.total = i * 10;
    s.live_bytes.value = static_cast<double>(i) + 0.25;
    s.ledger.unexplained_bytes = -static_cast<std::int64_t>(i);
    s.ledger.lines[static_cast<int>(Cause::kOwn)].bytes.value = static_cast<double>(i) * 3;
    const Past past = keep_point(s, i * 100);
    REQUIRE(past.points.size() == i);
    CHECK(past.now_ns == i * 100);
  }
  const Past past = keep_point(s, 999'999);
  REQUIRE(past.points.size() == kPastPoints / 2);
  for (std::size_t i = 0; i < past.points.size(); ++i) {
    const PastPoint& p = past.points[i];
    const std::uint64_t number = i * 2;
    CHECK(p.taken_ns == number * 100);
    CHECK(p.rss_bytes == number * 10);
    CHECK(p.live_bytes == static_cast<double>(number) + 0.25);
    CHECK(p.unexplained_bytes == -static_cast<std::int64_t>(number));
    CHECK(p.causes[static_cast<int>(Cause::kOwn)] == static_cast<double>(number) * 3);
    CHECK(p.live_known);
    CHECK(p.ledger_known);
  }
  const Past next = keep_point(s, 1'000'000);
  REQUIRE(next.points.size() == kPastPoints / 2 + 1);
  CHECK(next.points.back().taken_ns == 999'999);
  forget_points();
  CHECK(keep_point(s, 1).points.empty());
  forget_points();
}
