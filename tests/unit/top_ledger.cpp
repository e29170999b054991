// SPDX-License-Identifier: Apache-2.0
// mallard top of a process without mallard: rows of its ledgers, and the screens, word for word.
#include <string>
#include <vector>

#include "cli/top/inspected_screen.hpp"
#include "cli/top/ledger_rows.hpp"
#include "report/write/columns.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/golden.hpp"

using namespace mallard;
using namespace mallard::cli;

namespace {

constexpr double kMiB = 1 << 20;

LedgerReading reading(double at, double live, double holes, double files) {
  return {at,
          (live + holes + files) * kMiB,
          true,
          "system",
          {{"live", live * kMiB}, {"holes", holes * kMiB}, {"retained", 0}, {"files", files * kMiB}}};
}

const CauseRow* row_of(LedgerRows& rows, const std::string& cause) {
  for (const CauseRow& row : rows.sort(false))
    if (row.cause == cause) return &row;
  return nullptr;
}

InspectedView view_of_redis() {
  InspectedView view;
  view.pid = 1234567;
  view.clock = "12:34:56";
  view.allocator = "jemalloc 5.3.0";
  view.ledger = "1 s ago, in 0.4 s; verdict external_fragmentation";
  view.message = "Not recorded, so no call sites; mallard attach 1234567 records them from now on";
  view.vitals.name = "redis-server";
  view.vitals.age_seconds = 5025;
  view.vitals.resident = 160 * kMiB;
  view.vitals.anonymous = 150 * kMiB;
  view.vitals.file = 10 * kMiB;
  view.vitals.threads = 5;
  view.rates.cpu_share = 0.123;
  view.rates.minor_faults = 17;
  view.has_rates = true;
  view.selects = true;
  return view;
}

std::string text_of(const std::vector<Line>& lines) {
  constexpr const char* kMarks = " #>+-";
  std::string text;
  for (const Line& line : lines) {
    text += kMarks[static_cast<int>(line.style)];
    text += line.text + "|\n";
  }
  return text;
}

}  // namespace

TEST_CASE("top ledger: changes count from the first and from the last reading") {
  LedgerRows rows;
  CHECK_FALSE(rows.has_reading());
  rows.add(reading(10, 20, 5, 3));
  CHECK(rows.has_reading());
  CHECK_FALSE(rows.has_last_change());
  CHECK(row_of(rows, "live")->change == 0);
  CHECK(row_of(rows, "retained") == nullptr);  // there is none, and was none
  rows.add(reading(12, 26, 5, 3));
  rows.add(reading(15, 27, 0, 3));
  CHECK(rows.has_last_change());
  CHECK(rows.change_seconds() == 5);
  CHECK(rows.change() == 2 * kMiB);
  CHECK(row_of(rows, "live")->change == 7 * kMiB);
  CHECK(row_of(rows, "live")->last_change == 1 * kMiB);
  CHECK(row_of(rows, "live")->share == Approx(0.9));
  REQUIRE(row_of(rows, "holes"));  // what was there stays in sight
  CHECK(row_of(rows, "holes")->bytes == 0);
  CHECK(row_of(rows, "holes")->change == -5 * kMiB);
  CHECK(row_of(rows, "files")->change == 0);
}

TEST_CASE("top ledger: rows by size or by change") {
  LedgerRows rows;
  rows.add(reading(1, 20, 5, 3));
  rows.add(reading(2, 19, 9, 3));
  CHECK(rows.sort(false)[0].cause == "live");
  CHECK(rows.sort(true)[0].cause == "holes");
  CHECK(rows.sort(true).back().cause == "live");
}

TEST_CASE("top ledger: changes begin anew where asked, and where the heap is divided otherwise") {
  LedgerRows rows;
  rows.add(reading(1, 20, 5, 3));
  rows.add(reading(2, 30, 5, 3));
  rows.forget_changes();
  rows.add(reading(3, 31, 5, 3));
  CHECK(row_of(rows, "live")->change == 0);
  CHECK_FALSE(rows.has_last_change());
  rows.add(reading(4, 32, 5, 3));
  CHECK(row_of(rows, "live")->change == 1 * kMiB);
  LedgerReading whole{5, 40 * kMiB, false, "system", {{"undivided", 37 * kMiB}, {"files", 3 * kMiB}}};
  rows.add(whole);
  CHECK(row_of(rows, "undivided")->change == 0);
  CHECK(row_of(rows, "live") == nullptr);
  CHECK(rows.change() == 0);
  LedgerReading other = reading(6, 20, 5, 3);
  rows.add(other);
  other.allocator = "jemalloc";
  rows.add(other);
  CHECK_FALSE(rows.has_last_change());
}

TEST_CASE("top ledger: what no line explains is a row where it is more than a thousandth") {
  LedgerRows rows;
  LedgerReading some = reading(1, 20, 5, 3);
  some.resident += 0.02 * kMiB;
  rows.add(some);
  CHECK(row_of(rows, kUnexplainedRow) == nullptr);
  some.resident += 2 * kMiB;
  rows.add(some);
  CHECK(row_of(rows, kUnexplainedRow)->bytes == Approx(2.02 * kMiB));
  some.resident -= 5 * kMiB;
  rows.add(some);
  CHECK(row_of(rows, kUnexplainedRow)->bytes == Approx(-2.98 * kMiB));
}

TEST_CASE("top ledger: screens") {
  LedgerRows rows;
  InspectedView view = view_of_redis();
  std::string text;
  const auto show = [&](const char* what, std::size_t width, std::size_t height) {
    const std::vector<Line> lines = inspected_screen(view, rows, rows.sort(view.by_change), width, height);
    text += std::string("--- ") + what + "\n" + text_of(lines);
    CHECK((height == 0 || lines.size() <= height));
    for (const Line& line : lines) CHECK(report::columns(line.text) <= width);
  };
  InspectedView first = view;
  std::swap(first, view);
  view.ledger = "it is being taken";
  view.allocator = "being looked into";
  view.has_rates = false;
  show("before the first ledger, 80 columns", 80, 24);
  std::swap(first, view);
  rows.add(reading(1, 20, 105, 35));
  show("after the first", 80, 24);
  rows.add(reading(3, 21, 104.99, 35));
  LedgerReading last = reading(13, 24, 95, 35);
  last.resident += 6 * kMiB;
  rows.add(last);
  view.selected = 1;
  show("after the third", 80, 24);
  view.by_change = true;
  show("by change, 60 columns and 10 lines", 60, 10);
  view.first = view.selected = 2;
  show("scrolled", 80, 10);
  view.first = view.selected = 0;
  view.selects = false;
  show("batch mode", 140, 0);
  text += "--- help\n" + text_of(inspected_help(80));
  CHECK(inspected_help(80).size() <= 24);
  view.first = 1;
  text += "--- inspection\n" + text_of(inspection_screen(view, {"one", "two", "three", "four", "five"}, 60, 6));
  expect_golden("top_ledger.txt", text);
}
