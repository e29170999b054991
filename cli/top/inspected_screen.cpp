// SPDX-License-Identifier: Apache-2.0
#include "cli/top/inspected_screen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/demangled.hpp"
#include "cli/units.hpp"
#include "report/model/causes.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kMeaningColumn = 70;  ///< cause and figures stand before it
constexpr std::size_t kMeaningWidth = 115;   ///< from this width on, causes have their meaning
constexpr std::size_t kLastWidth = 70;       ///< and from this one on the last change

/// Coloured where it is more than what comes and goes in a process that stands still.
LineStyle style_of(const CauseRow& row) {
  const double least = std::max(64.0 * 1024, 0.01 * row.bytes);
  return std::abs(row.change) < least ? LineStyle::kPlain
         : row.change > 0             ? LineStyle::kGrowing
                                      : LineStyle::kShrinking;
}

std::string words_of(const CauseRow& row) {
  if (row.cause == kUnexplainedRow) return row.bytes < 0 ? "beyond RSS" : kUnexplainedRow;
  return printable(report::words_of_cause(row.cause));
}

std::string meaning_of(const CauseRow& row) {
  const report::CauseFacts* cause = report::find_cause(row.cause);
  if (row.cause == kUnexplainedRow) return row.bytes < 0 ? "the lines less RSS" : "RSS less the lines";
  if (row.cause == "live") return std::string(report::kRoundingIncluded);
  return cause ? std::string(cause->meaning) : std::string();
}

std::string row_text(const CauseRow& row, const LedgerRows& ledger, std::size_t width) {
  std::string text = right(bytes_text(row.bytes), 11) + right(fmt::format("{:.1f} %", 100 * row.share), 8) +
                     right(ledger.has_last_change() ? change_text(row.change) : "-", 12);
  if (width >= kLastWidth) text += right(ledger.has_last_change() ? change_text(row.last_change) : "-", 12);
  text += fmt::format("  {}", words_of(row));
  return width < kMeaningWidth ? text
                               : fmt::format("{}  {}", spread(text, "", kMeaningColumn), meaning_of(row));
}

std::string column_names(const InspectedView& view, std::size_t width) {
  return right(view.by_change ? "resident" : ">resident", 11) + right("of RSS", 8) +
         right(view.by_change ? ">change" : "change", 12) +
         (width >= kLastWidth ? right("last change", 12) : "") + "  cause";
}

}  // namespace

std::vector<Line> inspected_screen(const InspectedView& view, const LedgerRows& ledger,
                                   const std::vector<CauseRow>& rows, std::size_t width, std::size_t height) {
  const Vitals& v = view.vitals;
  const std::string head[] = {
      title_text(v, view.pid, "not recorded", view.clock, width),
      resident_text(v),
      fmt::format("Heap      {}", view.allocator),
      !ledger.has_last_change()
          ? std::string("Changes   from the next ledger on")
          : fmt::format("Changes   resident {} in {}; {}/s now", change_text(ledger.change()),
                        duration_text(ledger.change_seconds()), change_text(view.rates.resident)),
      process_text(v, view.has_rates ? &view.rates : nullptr),
      fmt::format("Ledger    {}", view.ledger),
      view.message,
      column_names(view, width)};
  return list_screen(head, view, rows, width, height,
                     [&](const CauseRow& row) { return Line{row_text(row, ledger, width), style_of(row)}; });
}

std::vector<Line> inspection_screen(const InspectedView& view, const std::vector<std::string>& text,
                                    std::size_t width, std::size_t height) {
  std::vector<Line> lines;
  lines.push_back({spread(fmt::format("Inspection of {} ({})", view.vitals.name, view.pid), "", width),
                   LineStyle::kHeading});
  add_scrolled(text, view.first, width, height, [width](const std::string& line) { return cut(line, width); }, &lines);
  return lines;
}

std::vector<Line> inspected_help(std::size_t width) {
  static constexpr const char* kText[] = {
      "Keys of mallard top, of a process that is not recorded",
      "",
      "  q              quit",
      "  h, ?           this help",
      "  space, l       read again now, the ledger as well",
      "  s, d           time between two readings",
      "  L, R           sort by resident memory",
      "  G              sort by change",
      "  A, C           need call sites",
      "  z              count changes from now on",
      "  arrows, PgUp, PgDn, Home, End    select a cause, or scroll",
      "  Enter          the whole inspection with its verdict, and back",
      "",
      "The ledger says why memory is resident. It is taken from outside at each",
      "reading, as mallard inspect takes it, and less often where that takes long:",
      "then 3/4 of the time are left between. Nothing is loaded into the process,",
      "nothing stopped. Who allocated is not known so: 'mallard attach' records call",
      "sites from then on, 'mallard run' from the start, and this screen shows them.",
      "'Change' counts from the first ledger, 'last change' from the one before.",
      "",
      "Any key goes back.",
  };
  std::vector<Line> lines;
  for (const char* text : kText)
    lines.push_back({cut(text, width), lines.empty() ? LineStyle::kHeading : LineStyle::kPlain});
  return lines;
}

}  // namespace mallard::cli
