// SPDX-License-Identifier: Apache-2.0
#include "report/write/text_site_lines.hpp"

namespace mallard::report {
namespace {

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

/// Whether the table tells what sites hold alone, in the place of errors and ages: exact figures have no
/// error.
bool has_alone(Table table, bool exact) noexcept { return exact && table == Table::kResident; }

bool has_error(Table table, bool exact) noexcept {
  return table != Table::kTemporary && !has_alone(table, exact);
}

/// Ages are known in the tables of what lives.
bool has_age(Table table, bool exact) noexcept {
  return table < Table::kAllocated && !has_alone(table, exact);
}

bool has_blocks(Table table) noexcept { return table != Table::kLiveCount && table != Table::kAtPeak; }

bool has_resident(Table table) noexcept { return table == Table::kAlone || table == Table::kHoles; }

void add_count_column(Sink& to, double count, std::size_t width) noexcept {
  Cell cell;
  add_count(cell, count);
  add_right(to, cell.view(), width);
}

}  // namespace

void add_percent(Sink& to, double part, double whole, std::size_t width) noexcept {
  Cell cell;
  add_decimal(cell, whole > 0 ? 100 * part / whole : 0, 1);
  cell.add(" %");
  add_right(to, cell.view(), width);
}

// Within 80 columns, so that a table can be read in any terminal.
void write_columns(Table table, bool exact, Sink& to) noexcept {
  add_right(to, "site", 6);
  add_right(to, facts_of(table).column, 11);
  if (table == Table::kPeak) {
    add_right(to, "live now", 12);
  } else {
    if (has_error(table, exact)) add_right(to, "error", 8);
    add_right(to, "share", 8);
  }
  if (has_alone(table, exact)) add_right(to, facts_of(Table::kAlone).column, 11);
  if (table == Table::kResident) {
    add_right(to, "of it live", 12);
    add_right(to, "of it holes", 12);
  }
  if (has_resident(table)) add_right(to, "resident", 11);
  if (has_resident(table) || table == Table::kLiveCount) add_right(to, "live", 11);
  if (table == Table::kAtPeak) add_right(to, "live now", 11);
  if (table == Table::kTemporary) {
    add_right(to, "of its own", 12);
    add_right(to, "allocated", 12);
  }
  if (has_blocks(table)) add_right(to, "blocks", 12);
  if (table != Table::kResident) add_right(to, "largest", 11);
  if (has_age(table, exact)) add_right(to, "mean age", 11);
  if (table == Table::kLive) add_right(to, "oldest", 11);
  to.add('\n');
}

void write_site_line(const SiteRow& row, Table table, bool exact, double total, Sink& to) noexcept {
  const Estimate figure = facts_of(table).of(row);
  Cell cell;
  cell.add_unsigned(row.id);
  add_right(to, cell.view(), 6);
  if (!facts_of(table).is_bytes()) add_count_column(to, figure.value, 11);
  else add_column(to, figure, 11);
  if (table == Table::kPeak) {
    add_column(to, row.live_bytes, 12);
  } else {
    cell.clear();
    add_relative_error(cell, figure);
    if (has_error(table, exact)) add_right(to, cell.view(), 8);
    add_percent(to, figure.value, total, 8);
  }
  if (has_alone(table, exact)) {
    if (row.alone_bytes.has_interval) add_column(to, row.alone_bytes, 11);
    else add_right(to, "-", 11);
  }
  if (table == Table::kResident) {
    add_column(to, row.resident_live_bytes, 12);
    add_column(to, row.hole_bytes, 12);
  }
  if (has_resident(table)) add_column(to, row.resident_bytes, 11);
  if (has_resident(table) || table == Table::kLiveCount || table == Table::kAtPeak)
    add_column(to, row.live_bytes, 11);
  if (table == Table::kTemporary) {
    add_percent(to, figure.value, row.allocated_count.value, 12);
    add_column(to, row.allocated_bytes, 12);
  }
  const bool by_allocation = table == Table::kAllocated || table == Table::kTemporary;
  if (has_blocks(table))
    add_count_column(to, (by_allocation ? row.allocated_count : row.live_count).value, 12);
  if (table != Table::kResident) add_column(to, counted(static_cast<double>(row.largest_bytes)), 11);
  if (has_age(table, exact)) {
    if (row.live_samples > 0) add_column(to, row.mean_age_ns, 11);
    else add_right(to, "-", 11);
  }
  if (table == Table::kLive) {
    if (row.live_samples > 0) add_column(to, row.oldest_ns, 11);
    else add_right(to, "-", 11);
  }
  to.add('\n');
}

/// "sizes  24 B: 1,200 of 5,000 live   33 to 40 B: ...": the ranges with most blocks, as far as a line goes.
void write_sizes(const SiteRow& row, bool by_allocation, Sink& to) noexcept {
  constexpr int kShown = 3;
  if (row.sizes.empty()) return;
  const auto weight = [by_allocation](const record::ExactSizes& s) {
    return by_allocation ? s.allocated_count : s.live_count;
  };
  const record::ExactSizes* shown[kShown] = {};
  int n = 0;
  for (const record::ExactSizes& range : row.sizes) {
    if (weight(range) == 0) continue;
    int at = n;
    while (at > 0 && weight(*shown[at - 1]) < weight(range)) --at;
    if (at == kShown) continue;
    n = n < kShown ? n + 1 : n;
    for (int k = n - 1; k > at; --k) shown[k] = shown[k - 1];
    shown[at] = &range;
  }
  if (n == 0) return;
  std::uint64_t others = 0;
  for (const record::ExactSizes& range : row.sizes) others += weight(range);
  // As many as fit into 80 columns, with room for what is left.
  constexpr std::size_t kMostColumns = 47;
  Cell line;
  for (int i = 0; i < n; ++i) {
    Cell part;
    add_count(part, static_cast<double>(weight(*shown[i])));
    part.add(" of ");
    if (shown[i]->from_bytes != shown[i]->to_bytes) {
      add_bytes(part, static_cast<double>(shown[i]->from_bytes));
      part.add(" to ");
    }
    add_bytes(part, static_cast<double>(shown[i]->to_bytes));
    if (line.size() + part.size() > kMostColumns) break;
    if (i > 0) line.add(",  ");
    line.add(part.view());
    others -= weight(*shown[i]);
  }
  if (others > 0) {
    line.add(",  ");
    add_count(line, static_cast<double>(others));
    line.add(" of others");
  }
  to.add("        sizes: ").add(line.view()).add('\n');
}

}  // namespace mallard::report
