// SPDX-License-Identifier: Apache-2.0
#include "report/text_sites.hpp"

#include "report/columns.hpp"
#include "report/demangle.hpp"

namespace mallard::report {
namespace {

constexpr std::uint32_t kTopSites = 20;
constexpr int kFramesShown = 16;
constexpr std::size_t kFunctionColumns = 76;

/// The executable goes by the name under which it was started: its file may have another one.
void add_module(const Frame& f, const ProcessFacts& process, Sink& to) noexcept {
  add_printable(to, f.module == process.executable ? process.name : file_name_of(f.module));
}

void write_frame(const Frame& f, const ProcessFacts& process, Sink& to) noexcept {
  to.add("        ");
  FixedText<kFunctionColumns * 4 + 1> function;
  if (!f.function.empty()) {
    char shortened[kFunctionColumns * 4];
    add_printable(to, shorten_name(f.function, shortened, sizeof shortened, kFunctionColumns));
  } else if (!f.module.empty()) {
    function.add('+').add_hex(f.module_address);
    add_module(f, process, to);
    to.add(function.view());
  } else {
    function.add_hex(f.pc).add(" (code outside any loaded file)");
    to.add(function.view());
  }
  if (!f.function.empty() && !f.module.empty()) {
    to.add("  [");
    add_module(f, process, to);
    to.add(']');
  }
  to.add('\n');
}

/// Which two columns a table leads with, and in what order it lists the sites.
struct Ranking {
  std::string_view title, unit;
  const Estimate SiteRow::*bytes;
  const Estimate SiteRow::*count;
  const Estimate Snapshot::*total;
  bool by_allocated;
  bool shows_ages;
};

void write_site_line(const SiteRow& row, const Ranking& ranking, const Estimate& total, int rank,
                     Sink& to) noexcept {
  Cell cell;
  const Estimate& bytes = row.*ranking.bytes;
  cell.add('#').add_signed(rank);
  add_right(to, cell.view(), 5);
  cell.clear();
  add_bytes(cell, bytes.value);
  add_right(to, cell.view(), 12);
  cell.clear();
  add_relative_error(cell, bytes);
  add_right(to, cell.view(), 9);
  cell.clear();
  add_decimal(cell, total.value > 0 ? 100 * bytes.value / total.value : 0, 1);
  cell.add(" %");
  add_right(to, cell.view(), 9);
  cell.clear();
  add_count(cell, (row.*ranking.count).value);
  add_right(to, cell.view(), 14);
  cell.clear();
  add_bytes(cell, static_cast<double>(row.largest_bytes));
  add_right(to, cell.view(), 12);
  if (ranking.shows_ages) {
    cell.clear();
    add_duration(cell, row.mean_age_ns);
    add_right(to, cell.view(), 14);
    cell.clear();
    add_duration(cell, row.oldest_ns);
    add_right(to, cell.view(), 14);
  }
  to.add('\n');
}

void write_sites(const Snapshot& s, const Ranking& ranking, Sink& to) noexcept {
  FixedText<96> title;
  title.add("Call sites by ").add(ranking.title);
  heading(to, title.view());
  const Estimate& total = s.*ranking.total;
  if (total.value <= 0) {
    to.add(
        "  None was sampled. Next step: let the program work longer, or set ALLOC_SAMPLE_BYTES lower than ");
    Cell cell;
    add_bytes(cell, static_cast<double>(s.recording.sample_bytes));
    to.add(cell.view()).add(".\n");
    return;
  }
  add_right(to, "rank", 5);
  add_right(to, ranking.unit, 12);
  add_right(to, "error", 9);
  add_right(to, "share", 9);
  add_right(to, "blocks", 14);
  add_right(to, "largest", 12);
  if (ranking.shows_ages) {
    add_right(to, "mean age", 14);
    add_right(to, "oldest", 14);
  }
  to.add('\n');
  std::uint32_t shown = 0;
  for (std::uint32_t i = 0; i < s.site_count && shown < kTopSites; ++i) {
    const SiteRow& row = s.sites[ranking.by_allocated ? s.by_allocated[i] : i];
    if ((row.*ranking.bytes).value <= 0) break;
    write_site_line(row, ranking, total, static_cast<int>(++shown), to);
    for (int f = 0; f < row.depth && f < kFramesShown; ++f) write_frame(*row.frames[f], s.process, to);
    if (row.depth > kFramesShown) {
      Cell cell;
      cell.add("        ... ").add_signed(row.depth - kFramesShown).add(" more frames in the JSON report\n");
      to.add(cell.view());
    }
    if (row.depth == 0) to.add("        (stacks that found the site table full)\n");
  }
}

constexpr Ranking kByLive = {"live bytes (requested by the program and not freed)",
                             "live",
                             &SiteRow::live_bytes,
                             &SiteRow::live_count,
                             &Snapshot::live_bytes,
                             false,
                             true};
constexpr Ranking kByAllocated = {"allocated bytes (since the start, freed or not)",
                                  "allocated",
                                  &SiteRow::allocated_bytes,
                                  &SiteRow::allocated_count,
                                  &Snapshot::allocated_bytes,
                                  true,
                                  false};

}  // namespace

void write_sites_by_live(const Snapshot& snapshot, Sink& to) noexcept { write_sites(snapshot, kByLive, to); }
void write_sites_by_allocated(const Snapshot& snapshot, Sink& to) noexcept {
  write_sites(snapshot, kByAllocated, to);
}

}  // namespace mallard::report
