// SPDX-License-Identifier: Apache-2.0
#include "report/text_sites.hpp"

#include "report/columns.hpp"
#include "report/demangle.hpp"

namespace mallard::report {
namespace {

constexpr int kTopSites = 20;
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

enum class Table : std::uint8_t { kResident, kLive, kAllocated };

void add_column(Sink& to, const Estimate& bytes, std::size_t width) noexcept {
  Cell cell;
  add_bytes(cell, bytes.value);
  add_right(to, cell.view(), width);
}

void add_column(Sink& to, std::uint64_t ns, std::size_t width) noexcept {
  Cell cell;
  add_duration(cell, ns);
  add_right(to, cell.view(), width);
}

void write_columns(Table table, Sink& to) noexcept {
  add_right(to, "rank", 5);
  add_right(to, table == Table::kResident ? "resident" : table == Table::kLive ? "live" : "allocated", 12);
  add_right(to, "error", 9);
  add_right(to, "share", 9);
  if (table == Table::kResident) {
    add_right(to, "of it live", 13);
    add_right(to, "of it holes", 13);
  }
  add_right(to, "blocks", 12);
  if (table != Table::kResident) add_right(to, "largest", 12);
  if (table != Table::kAllocated) add_right(to, "mean age", 14);
  if (table == Table::kLive) add_right(to, "oldest", 14);
  add_right(to, "site", 7);
  to.add('\n');
}

void write_site_line(const SiteRow& row, Table table, const Estimate& bytes, double total, int rank,
                     Sink& to) noexcept {
  Cell cell;
  cell.add('#').add_signed(rank);
  add_right(to, cell.view(), 5);
  add_column(to, bytes, 12);
  cell.clear();
  add_relative_error(cell, bytes);
  add_right(to, cell.view(), 9);
  cell.clear();
  add_decimal(cell, total > 0 ? 100 * bytes.value / total : 0, 1);
  cell.add(" %");
  add_right(to, cell.view(), 9);
  if (table == Table::kResident) {
    add_column(to, row.resident_live_bytes, 13);
    add_column(to, row.hole_bytes, 13);
  }
  cell.clear();
  add_count(cell, (table == Table::kAllocated ? row.allocated_count : row.live_count).value);
  add_right(to, cell.view(), 12);
  if (table != Table::kResident) {
    cell.clear();
    add_bytes(cell, static_cast<double>(row.largest_bytes));
    add_right(to, cell.view(), 12);
  }
  if (table != Table::kAllocated) add_column(to, row.mean_age_ns, 14);
  if (table == Table::kLive) add_column(to, row.oldest_ns, 14);
  cell.clear();
  cell.add_unsigned(row.id);
  add_right(to, cell.view(), 7);
  to.add('\n');
}

std::string_view word_for(Table table) noexcept {
  return table == Table::kResident ? "resident memory"
         : table == Table::kLive   ? "live bytes"
                                   : "allocated bytes";
}

/// Where a stack stands already, so that a later table need not repeat it.
class StacksShown {
 public:
  /// \return true if it stands in an earlier table; a line that refers to it is written then
  bool refer(const SiteRow& row, Table table, int rank, const ProcessFacts& process, Sink& to) noexcept {
    for (int i = 0; i < count_; ++i) {
      if (shown_[i].row != &row) continue;
      if (row.depth > 0) write_frame(*row.frames[0], process, to);
      Cell cell;
      cell.add("        ... the stack is that of #").add_signed(shown_[i].rank).add(" by ");
      cell.add(word_for(shown_[i].table)).add(", above\n");
      to.add(cell.view());
      return true;
    }
    if (count_ < kMost) shown_[count_++] = {&row, table, rank};
    return false;
  }

 private:
  static constexpr int kMost = 3 * kTopSites;
  struct Place {
    const SiteRow* row;
    Table table;
    int rank;
  };
  Place shown_[kMost];
  int count_ = 0;
};

void write_sites(const Snapshot& s, Table table, const Estimate SiteRow::*bytes, const std::uint32_t* order,
                 double total, StacksShown& stacks, Sink& to) noexcept {
  if (total <= 0) {
    to.add(
        "  None was sampled. Next step: let the program work longer, or set ALLOC_SAMPLE_BYTES lower than ");
    Cell cell;
    add_bytes(cell, static_cast<double>(s.recording.sample_bytes));
    to.add(cell.view()).add(".\n");
    return;
  }
  write_columns(table, to);
  int shown = 0;
  for (std::uint32_t i = 0; i < s.site_count && shown < kTopSites; ++i) {
    const SiteRow& row = s.sites[order ? order[i] : i];
    if ((row.*bytes).value <= 0) break;
    write_site_line(row, table, row.*bytes, total, ++shown, to);
    if (stacks.refer(row, table, shown, s.process, to)) continue;
    for (int f = 0; f < row.depth && f < kFramesShown; ++f) write_frame(*row.frames[f], s.process, to);
    if (row.depth > kFramesShown) {
      Cell cell;
      cell.add("        ... ").add_signed(row.depth - kFramesShown).add(" more frames in the JSON report\n");
      to.add(cell.view());
    }
    if (row.depth == 0) to.add("        (stacks that found the site table full)\n");
  }
}

void write_by_resident(const Snapshot& s, StacksShown& stacks, Sink& to) noexcept {
  heading(to, "Call sites by resident memory (their share of the pages under their blocks, holes included)");
  const double pinned = static_cast<double>(s.ledger.pinned_bytes);
  write_sites(s, Table::kResident, &SiteRow::resident_bytes, s.by_resident,
              s.live_count.value > 0 ? pinned : 0, stacks, to);
  if (s.ledger.unattributed_bytes == 0 || s.live_count.value <= 0) return;
  Cell cell;
  cell.add("  Of the pinned pages, ");
  add_bytes(cell, static_cast<double>(s.ledger.unattributed_bytes));
  cell.add(" hold blocks of sizes that too few samples were taken of to say whose\n");
  cell.add("  they are; ALLOC_SAMPLE_BYTES lower than now would tell.\n");
  to.add(cell.view());
}

}  // namespace

void write_site_tables(const Snapshot& s, Sink& to) noexcept {
  StacksShown stacks;
  if (s.ledger.divided) write_by_resident(s, stacks, to);
  heading(to, "Call sites by live bytes (requested by the program and not freed)");
  write_sites(s, Table::kLive, &SiteRow::live_bytes, nullptr, s.live_bytes.value, stacks, to);
  heading(to, "Call sites by allocated bytes (since the start, freed or not)");
  write_sites(s, Table::kAllocated, &SiteRow::allocated_bytes, s.by_allocated, s.allocated_bytes.value,
              stacks, to);
}

}  // namespace mallard::report
