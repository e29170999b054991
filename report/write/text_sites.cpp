// SPDX-License-Identifier: Apache-2.0
#include "report/write/text_sites.hpp"

#include "report/write/columns.hpp"
#include "report/write/text_site_lines.hpp"
#include "symbols/demangle.hpp"

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
    add_printable(to, symbols::shorten_name(f.function, shortened, sizeof shortened, kFunctionColumns));
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
  static constexpr int kMost = 5 * kTopSites;
  struct Place {
    const SiteRow* row;
    Table table;
    int rank;
  };
  Place shown_[kMost];
  int count_ = 0;
};

/// What is in the total but in no row.
void write_rest(const Snapshot& s, Table table, double total, Sink& to) noexcept {
  const OtherSites& o = s.others;
  Cell cell;
  const auto line = [&](double value, std::string_view what) {
    cell.clear();
    if (table == Table::kTemporary) add_count(cell, value);
    else add_bytes(cell, value);
    to.add("     ");
    add_right(to, cell.view(), 12);
    to.add("         ");
    add_percent(to, value, total, 9);
    to.add("   ").add(what).add('\n');
  };
  if (table == Table::kResident && s.before.resident_bytes > 0)
    line(s.before.resident_bytes, "under blocks allocated before exact recording began");
  if (table == Table::kLive && s.before.live_bytes > 0)
    line(s.before.live_bytes, "allocated before exact recording began, rounding included");
  if (o.sites == 0 || table == Table::kPeak) return;
  FixedText<64> what;
  what.add("in ");
  add_grouped(what, o.sites);
  what.add(" more sites, which lead by none of the figures");
  line(table == Table::kResident    ? o.resident_bytes
       : table == Table::kLive      ? o.live_bytes
       : table == Table::kAllocated ? o.allocated_bytes
                                    : o.temporary_count,
       what.view());
}

void write_sites(const Snapshot& s, Table table, const std::uint32_t* order, double total,
                 StacksShown& stacks, Sink& to) noexcept {
  if (total <= 0 && s.recording.exact.on) {
    to.add("  None.\n");
    return;
  }
  if (total <= 0) {
    to.add(
        "  None was sampled. Next step: let the program work longer, or set ALLOC_SAMPLE_BYTES lower than ");
    Cell cell;
    add_bytes(cell, static_cast<double>(s.recording.sample_bytes));
    to.add(cell.view()).add(".\n");
    return;
  }
  write_columns(table, to);
  // In exact mode a table more is a matter of a glance.
  const int most = table == Table::kTemporary || table == Table::kPeak ? kTopSites / 2 : kTopSites;
  int shown = 0;
  for (std::uint32_t i = 0; i < s.site_count && shown < most; ++i) {
    const SiteRow& row = s.sites[order ? order[i] : i];
    if (figure_of(row, table).value <= 0) break;
    write_site_line(row, table, total, ++shown, to);
    if (stacks.refer(row, table, shown, s.process, to)) continue;
    write_sizes(row, table == Table::kAllocated || table == Table::kTemporary, to);
    for (int f = 0; f < row.depth && f < kFramesShown; ++f) write_frame(*row.frames[f], s.process, to);
    if (row.depth > kFramesShown) {
      Cell cell;
      cell.add("        ... ").add_signed(row.depth - kFramesShown).add(" more frames in the JSON report\n");
      to.add(cell.view());
    }
    if (row.depth == 0) to.add("        (stacks that found the site table full)\n");
  }
  write_rest(s, table, total, to);
}

void write_by_resident(const Snapshot& s, StacksShown& stacks, Sink& to) noexcept {
  heading(to, "Call sites by resident memory (their share of the pages under their blocks, holes included)");
  const double pinned = static_cast<double>(s.ledger.pinned_bytes);
  write_sites(s, Table::kResident, s.by_resident, s.live_count.value > 0 ? pinned : 0, stacks, to);
  if (s.ledger.unattributed_bytes == 0 || s.live_count.value <= 0) return;
  Cell cell;
  cell.add("  Of the pinned pages, ");
  add_bytes(cell, static_cast<double>(s.ledger.unattributed_bytes));
  if (s.recording.exact.on) {
    cell.add(" hold no booked block: free ones in thread caches, or the allocator's own.\n");
    to.add(cell.view());
    return;
  }
  if (!s.recording.since_start) {
    cell.add(" hold more than the samples account for: blocks allocated before\n");
    cell.add("  recording began, mostly.\n");
    to.add(cell.view());
    return;
  }
  cell.add(" hold blocks of sizes that too few samples were taken of to say whose\n");
  cell.add("  they are; ALLOC_SAMPLE_BYTES lower than now would tell.\n");
  to.add(cell.view());
}

}  // namespace

void write_site_tables(const Snapshot& s, Sink& to) noexcept {
  StacksShown stacks;
  if (s.ledger.divided) write_by_resident(s, stacks, to);
  heading(to, "Call sites by live bytes (requested by the program and not freed)");
  write_sites(s, Table::kLive, nullptr, s.live_bytes.value + s.before.live_bytes, stacks, to);
  heading(to, s.recording.since_start ? "Call sites by allocated bytes (since the start, freed or not)"
              : s.recording.exact.on
                  ? "Call sites by allocated bytes (since exact recording began, freed or not)"
                  : "Call sites by allocated bytes (since recording began anew, freed or not)");
  write_sites(s, Table::kAllocated, s.by_allocated, s.allocated_bytes.value, stacks, to);
  if (!s.recording.exact.on) return;
  heading(to, "Call sites by temporary allocations (freed before their thread's next allocation)");
  write_sites(s, Table::kTemporary, s.by_temporary, static_cast<double>(s.temporary_count), stacks, to);
  heading(to, "Call sites by peak (the most that each held at one time; peaks are not of one moment)");
  write_sites(s, Table::kPeak, s.by_peak, static_cast<double>(s.peak_bytes), stacks, to);
}

}  // namespace mallard::report
