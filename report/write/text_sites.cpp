// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "report/model/naming.hpp"
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"
#include "report/write/text_site_lines.hpp"
#include "symbols/demangle.hpp"

namespace mallard::report {
namespace {

constexpr std::string_view kNoStack =
    "        (stacks that found a table full: the line \"lost\" says which)\n";
constexpr int kTopSites = 20;
constexpr int kFramesShown = 16;
constexpr std::size_t kFunctionColumns = 76;

/// The executable goes by the name under which it was started: its file may have another one.
void add_module(const Frame& f, const ProcessFacts& process, Sink& to) noexcept {
  add_printable(to, f.module == process.executable ? process.name : file_name_of(f.module));
}

void write_function(std::string_view function, std::size_t columns, Sink& to) noexcept {
  char shortened[kFunctionColumns * 4];
  add_printable(to, symbols::shorten_name(function, shortened, sizeof shortened, columns));
}

void write_name(const Frame& f, std::string_view function, std::size_t columns, const ProcessFacts& process,
                Sink& to) noexcept {
  Cell cell;
  if (!function.empty()) {
    write_function(function, columns, to);
  } else if (!f.module.empty()) {
    add_module(f, process, to);
    cell.add('+').add_hex(f.module_address);
    to.add(cell.view());
  } else {
    cell.add_hex(f.pc).add(" (code outside any loaded file)");
    to.add(cell.view());
  }
}

/// "keep(int)  keep.cpp:12  [program]", with a newline.
void write_place(const StackFunction& function, const SourceLine* line, std::size_t columns,
                 const ProcessFacts& process, Sink& to) noexcept {
  const Frame& f = *function.frame;
  write_name(f, function.name, columns, process, to);
  if (line && !line->file.empty()) {
    Cell cell;
    to.add("  ");
    add_printable(to, line->file);
    cell.add(':').add_signed(line->line);
    to.add(cell.view());
  }
  if (!function.name.empty() && !f.module.empty()) {
    to.add("  [");
    add_module(f, process, to);
    to.add(']');
  }
  to.add(function.inlined ? "  inlined\n" : "\n");
}

const SourceLine* line_at(const SiteRow& row, Naming place) noexcept {
  const Frame* frame = row.frames[place.frame];
  return frame->lines.empty() ? nullptr : &frame->lines[static_cast<std::size_t>(place.line)];
}

void write_naming(const SiteRow& row, const ProcessFacts& process, Sink& to) noexcept {
  to.add("        ");
  write_place(naming_function(row), line_at(row, row.naming), kFunctionColumns, process, to);
}

/// The functions that were folded, from the one that the naming function calls down to the leaf.
void write_folded(const SiteRow& row, const ProcessFacts& process, Sink& to) noexcept {
  for (int frame = row.naming.frame; frame >= 0; --frame) {
    const auto lines = std::max<std::size_t>(1, row.frames[frame]->lines.size());
    const int above = frame == row.naming.frame ? row.naming.line : static_cast<int>(lines);
    for (int line = above - 1; line >= 0; --line) {
      constexpr std::string_view kWords = "  by way of ";
      to.add("        ").add(kWords);
      write_place(StackWalk(row, {frame, line}).get(), line_at(row, {frame, line}),
                  kFunctionColumns - kWords.size(), process, to);
    }
  }
}

}  // namespace

void write_stack(const SiteRow& row, const ProcessFacts& process, int most_frames, Sink& to) noexcept {
  if (row.depth == 0) return void(to.add(kNoStack));
  write_naming(row, process, to);
  write_folded(row, process, to);
  StackWalk walk(row, row.naming);
  for (walk.next(); !walk.is_done() && walk.place().frame < most_frames; walk.next()) {
    to.add("        ");
    write_place(walk.get(), line_at(row, walk.place()), kFunctionColumns, process, to);
  }
  if (walk.is_done()) return;
  add_parts(to, "        ... ", row.depth - walk.place().frame, " more frames in the JSON report\n");
}

namespace {

/// Where a stack stands already, so that a later table need not repeat it.
class StacksShown {
 public:
  /// \return true if it stands in an earlier table; a line that refers to it is written then
  bool refer(const SiteRow& row, Table table, const ProcessFacts& process, Sink& to) noexcept {
    for (int i = 0; i < count_; ++i) {
      if (shown_[i].row != &row) continue;
      if (row.depth > 0) write_naming(row, process, to);
      add_parts(to, "        ... its stack stands above, by ", facts_of(shown_[i].table).words, "\n");
      return true;
    }
    if (count_ < kMost) shown_[count_++] = {&row, table};
    return false;
  }

 private:
  static constexpr int kMost = 6 * kTopSites;  // where a reader asks for more, later stacks stand again
  struct Place {
    const SiteRow* row;
    Table table;
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
    if (!facts_of(table).is_bytes()) add_count(cell, value);
    else add_bytes(cell, value);
    to.add_spaces(6);
    add_right(to, cell.view(), 11);
    to.add_spaces(8);
    add_percent(to, value, total, 8);
    to.add("   ").add(what).add('\n');
  };
  if (table == Table::kResident && s.before.resident_bytes > 0)
    line(s.before.resident_bytes, "under blocks allocated before exact recording began");
  if (table == Table::kLive && s.before.live_bytes > 0) line(s.before.live_bytes, older_words(s));
  if (o.sites == 0 || table == Table::kPeak) return;
  FixedText<64> what;
  what.add("in ");
  add_grouped(what, o.sites);
  what.add(" more sites, which lead by none of the figures");
  line(facts_of(table).of(o), what.view());
}

/// The row that comes after `last` in the order of a table, which ends with nullptr. Few rows are shown of
/// many: to look for each costs less than to sort them all, and no memory.
const SiteRow* next_row(const Snapshot& s, Table table, const SiteRow* last) noexcept {
  const SiteRow* next = nullptr;
  double most = 0;
  const double bound = last ? facts_of(table).of(*last).value : 0;
  for (const SiteRow* row = s.sites; row != s.sites + s.site_count; ++row) {
    const double value = facts_of(table).of(*row).value;
    if (value <= most || (last && (value > bound || (value == bound && row <= last)))) continue;
    next = row;
    most = value;
  }
  return next;
}

/// In two lines: the function that names the site, and who called it.
void write_short_stack(const SiteRow& row, const ProcessFacts& process, Sink& to) noexcept {
  constexpr int kCallers = 3;
  constexpr std::size_t kIndent = 8, kCallerColumns = 40, kSeparator = 3;
  if (row.depth == 0) return void(to.add(kNoStack));
  write_naming(row, process, to);
  int shown = 0;
  std::size_t used = kIndent;
  StackWalk walk(row, row.naming);
  for (walk.next(); !walk.is_done() && shown < kCallers; walk.next()) {
    const StackFunction caller = walk.get();
    if (caller.name.empty() || is_folded(caller, {})) continue;
    used += std::min(columns(caller.name), kCallerColumns) + kSeparator;
    if (shown > 0 && used > kLineColumns) break;
    to.add(shown++ == 0 ? "        < " : " < ");
    write_function(caller.name, kCallerColumns, to);
  }
  if (shown > 0) to.add('\n');
}

/// Call sites in the order of one figure.
class SiteTables {
 public:
  SiteTables(const Snapshot& s, const TextLayout& layout, Sink& to) noexcept
      : s_(s), layout_(layout), to_(to) {}

  /// \param total  what the shares are of
  void write(Table table, double total) noexcept {
    if (total <= 0 || (table == Table::kAlone && !next_row(s_, table, nullptr))) return write_none(table);
    write_columns(table, is_exact(), to_);
    // In exact mode a table more is a matter of a glance.
    const int usual = table >= Table::kTemporary ? kTopSites / 2 : kTopSites;
    const int most = layout_.sites > 0 ? layout_.sites : usual;
    const SiteRow* row = nullptr;
    for (int rank = 1; rank <= most && (row = next_row(s_, table, row)); ++rank) {
      write_site_line(*row, table, is_exact(), total, to_);
      if (stacks_.refer(*row, table, s_.process, to_)) continue;
      write_sizes(*row, table == Table::kAllocated || table == Table::kTemporary, to_);
      write_stack(*row, s_.process, layout_.frames, to_);
    }
    if (layout_.sites > 0) write_left_out(table, most);
    write_rest(s_, table, total, to_);
  }

 private:
  void write_left_out(Table table, int most) noexcept {
    const auto rows = std::count_if(s_.sites, s_.sites + s_.site_count, [table](const SiteRow& row) {
      return facts_of(table).of(row).value > 0;
    });
    if (rows <= most) return;
    Cell cell;
    cell.add("  ").add_signed(rows - most).add(" more with --limit ").add_signed(rows).add('\n');
    to_.add(cell.view());
  }

  bool is_exact() const noexcept { return s_.recording.exact.on; }

  void write_none(Table table) noexcept {
    if (table == Table::kAlone && !s_.ledger.pins.known) {
      to_.add("  It is told of no site. Next step: ");
      if (!s_.recording.is_attached) to_.add("start the program with ");
      add_way_to_exact(s_, to_);
      return void(to_.add(".\n"));
    }
    if (is_exact()) return void(to_.add("  None.\n"));
    to_.add("  None was sampled. Next step: let the program work longer, or ");
    if (!s_.recording.is_attached)
      return add_parts(to_, "set ALLOC_SAMPLE_BYTES lower than ", as_bytes(s_.recording.sample_bytes), ".\n");
    to_.add("book all of it:\n  ");
    add_way_to_exact(s_, to_);
    to_.add(".\n");
  }

  const Snapshot& s_;
  const TextLayout& layout_;
  Sink& to_;
  StacksShown stacks_;
};

/// Where pages under live blocks are not the sites'.
void write_unattributed(const Snapshot& s, Sink& to) noexcept {
  if (s.ledger.unattributed_bytes == 0 || s.live_count.value <= 0) return;
  add_parts(to, "  Of the pinned pages, ", as_bytes(s.ledger.unattributed_bytes));
  to.add(
      s.ledger.lines[static_cast<int>(Cause::kPastMallard)].bytes.value > 0
          ? " are charged to no call site: blocks allocated past mallard\n"
            "  pin them, or it is not known whose they are.\n"
      : s.recording.exact.on ? " hold no booked block: free ones in thread caches, or the allocator's own.\n"
      : !s.recording.since_start ? " hold more than the samples account for: blocks allocated before\n"
                                   "  recording began, mostly.\n"
                                 : " hold blocks of sizes that too few samples were taken of to say whose\n"
                                   "  they are; ALLOC_SAMPLE_BYTES lower than now would tell.\n");
}

struct TableSection {
  Table table;
  std::string_view heading;
};

constexpr TableSection kSections[] = {
    {Table::kResident,
     "Call sites by resident memory (their share of the pages under their blocks, holes included)"},
    {Table::kHoles, "Call sites by holes (free memory that their blocks pin)"},
    {Table::kLive, "Call sites by live bytes (requested by the program and not freed)"},
    {Table::kLiveCount, "Call sites by live blocks (not freed by the program)"},
    {Table::kAllocated, "Call sites by allocated bytes (since the start, freed or not)"},
    {Table::kTemporary, "Call sites by temporary allocations (freed before their thread's next allocation)"},
    {Table::kAtPeak, "Call sites by live bytes at the peak (when most was live in the process)"},
    {Table::kPeak, "Call sites by peak (the most that each held at one time; peaks are not of one moment)"},
    {Table::kAlone, "Call sites by memory held alone (goes back if one site's blocks leave)"}};

std::string_view heading_of(const TableSection& section, const Recording& r) noexcept {
  if (section.table != Table::kAllocated || r.since_start) return section.heading;
  return r.exact.on ? "Call sites by allocated bytes (since exact recording began, freed or not)"
                    : "Call sites by allocated bytes (since recording began anew, freed or not)";
}

/// What the shares of a table are of.
double total_of(const Snapshot& s, Table table) noexcept {
  const bool any = s.live_count.value > 0;
  const double pinned = any ? static_cast<double>(s.ledger.pinned_bytes) : 0;
  const double totals[] = {pinned,
                           pinned,
                           any ? s.ledger.lines[static_cast<int>(Cause::kHoles)].bytes.value : 0,
                           s.live_bytes.value + s.before.live_bytes,
                           s.live_count.value,
                           s.allocated_bytes.value,
                           s.allocated_count.value,
                           static_cast<double>(s.temporary_count),
                           static_cast<double>(s.peak_bytes),
                           s.peak.bytes.value};
  return totals[static_cast<int>(table)];
}

bool is_shown(const Snapshot& s, const TextLayout& layout, Table table) noexcept {
  if (layout.only_one) return table == layout.table;
  if (table == Table::kAlone || table == Table::kHoles || table == Table::kLiveCount) return false;
  if (table == Table::kResident) return s.ledger.divided;
  if (table == Table::kAtPeak) return s.peak.is_judged;
  return table < Table::kTemporary || s.recording.exact.on;
}

}  // namespace

void write_leading_sites(const Snapshot& s, std::size_t most_lines, Sink& to) noexcept {
  const Table table = s.ledger.divided ? Table::kResident : Table::kLive;
  const TableSection& section = kSections[s.ledger.divided ? 0 : 2];
  const double total = total_of(s, table);
  const std::size_t end = to.lines() + most_lines;
  heading(to, heading_of(section, s.recording));
  if (total <= 0) return void(to.add(s.recording.exact.on ? "  None.\n" : "  None was sampled.\n"));
  write_columns(table, s.recording.exact.on, to);
  constexpr std::size_t kLinesOfSite = 3;
  const SiteRow* row = nullptr;
  int shown = 0;
  while (to.lines() + kLinesOfSite + 1 <= end && (row = next_row(s, table, row))) {
    write_site_line(*row, table, s.recording.exact.on, total, to);
    write_short_stack(*row, s.process, to);
    ++shown;
  }
  const auto rows = std::count_if(s.sites, s.sites + s.site_count, [table](const SiteRow& site) {
    return facts_of(table).of(site).value > 0;
  });
  if (rows > shown)
    add_parts(to, "  and ", as_grouped(static_cast<std::uint64_t>(rows - shown)), " more sites\n");
}

void write_site_tables(const Snapshot& s, const TextLayout& layout, Sink& to) noexcept {
  SiteTables tables(s, layout, to);
  for (const TableSection& section : kSections) {
    if (!is_shown(s, layout, section.table)) continue;
    heading(to, heading_of(section, s.recording));
    tables.write(section.table, total_of(s, section.table));
    if (section.table != Table::kResident) continue;
    write_pins(s, to);
    write_unattributed(s, to);
  }
}

}  // namespace mallard::report
