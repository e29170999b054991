// SPDX-License-Identifier: Apache-2.0
#include "cli/top/screen.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/demangled.hpp"
#include "cli/top/screen_parts.hpp"
#include "cli/units.hpp"
#include "report/write/columns.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kErrorWidth = 100;  ///< from this width on, rates have their errors
constexpr std::size_t kFunctionColumns = 60;
constexpr std::size_t kRoomForModules = 45;

std::string with_error(const std::string& text, const Sum& sum) {
  const std::string error = sum.variance > 0 ? error_of(sum) : "";
  return error.empty() ? text : fmt::format("{} {}", text, error);
}

std::string mode_text(const TopModel& model) {
  const Books& b = model.books();
  if (b.mode == Mode::kOff || b.sample_bytes == 0) return "mode off";
  if (b.exact_epoch != 0) return "mode exact";
  return fmt::format("mode {}, a sample per {}", b.mode == Mode::kExact ? "exact" : "sample",
                     bytes_text(b.sample_bytes));
}

std::string head_of(const TopRow& row, const TopModel& model, std::size_t width) {
  const bool rates = model.totals().has_rates;
  const auto error_of = [&](const Sum& sum) {
    return model.books().exact_epoch == 0 ? cli::error_of(sum) : std::string();
  };
  std::string text;
  if (model.has_resident()) text += right(row.resident ? bytes_text(*row.resident) : "-", 11);
  text += right(bytes_text(row.live.value), 11);
  text += right(model.books().exact_epoch ? "exact" : error_of(row.live), 8);
  text += right(change_text(row.growth.value), 12);
  if (width >= kErrorWidth) text += right(error_of(row.growth), 8);
  text += right(rates ? rate_text(row.allocated_rate.value) : "-", 13);
  if (width >= kErrorWidth) text += right(rates ? error_of(row.allocated_rate) : "", 8);
  if (width >= kErrorWidth) text += right(rates ? count_text(row.count_rate) : "-", 11);
  text += "  ";
  return text;
}

std::string column_names(const TopView& view, const TopModel& model, std::size_t width) {
  const auto name = [&](const char* text, TopSort sort, std::size_t columns) {
    return right(fmt::format("{}{}", view.sort == sort ? ">" : "", text), columns);
  };
  std::string text;
  if (model.has_resident()) text += name("resident", TopSort::kResident, 11);
  text += name("live", TopSort::kLive, 11) + right("error", 8) + name("growth", TopSort::kGrowth, 12);
  if (width >= kErrorWidth) text += right("error", 8);
  text += name("allocated", TopSort::kAllocated, 13);
  if (width >= kErrorWidth) text += right("error", 8) + name("blocks/s", TopSort::kCount, 11);
  text += "  site: function < its caller";
  return text;
}

std::string site_text(const TopView& view, std::uint32_t site, std::size_t width) {
  std::string text;
  for (std::string function : view.names(site)) {
    // Where there is little room, callers tell more than the names of modules; Enter shows those.
    if (const auto module = function.rfind("  ["); width < kRoomForModules && module != function.npos)
      function.resize(module);
    text += fmt::format("{}{}", text.empty() ? "" : " < ", shortened(function, kFunctionColumns));
    if (report::columns(text) >= width) break;
  }
  return text.empty() ? fmt::format("site {}", site) : text;
}

LineStyle style_of(const TopRow& row) {
  // Coloured only if it is more than the error.
  if (row.growth.value * row.growth.value <= 4 * row.growth.variance) return LineStyle::kPlain;
  return row.growth.value > 0 ? LineStyle::kGrowing : LineStyle::kShrinking;
}

}  // namespace

std::vector<Line> main_screen(const TopView& view, const TopModel& model, const std::vector<TopRow>& rows,
                              std::size_t width, std::size_t height) {
  const Vitals& v = model.vitals();
  const TopTotals& t = model.totals();
  std::vector<std::string> head;
  head.push_back(
      title_text(v, view.pid,
                 view.backend.empty() ? mode_text(model) : fmt::format("{}, {}", view.backend, mode_text(model)),
                 view.clock, width));
  head.push_back(resident_text(v));
  head.push_back(fmt::format(
      "Live      {}; growth {} in {}; {}", with_error(bytes_text(t.live.value), t.live),
      with_error(change_text(t.growth.value), t.growth), duration_text(t.growth_seconds),
      model.books().exact_epoch
          ? fmt::format("{} blocks, counted", count_text(t.live_count))
          : fmt::format("{} live samples", count_text(static_cast<double>(model.books().live_samples)))));
  head.push_back(!t.has_rates ? "Rates     from the next reading on"
                              : fmt::format("Rates     allocated {}, {} blocks/s; resident {}/s",
                                            with_error(rate_text(t.allocated_rate.value), t.allocated_rate),
                                            count_text(t.count_rate), change_text(t.vitals.resident)));
  head.push_back(process_text(v, t.has_rates ? &t.vitals : nullptr));
  head.push_back(fmt::format("Ledger    {}", view.ledger));
  head.push_back(
      !view.message.empty() ? view.message
      : model.books().sample_bytes == 0 || model.books().mode == Mode::kOff
          ? fmt::format("Nothing is recorded now, what stands here is old. To begin: mallard mode {} sample",
                        view.pid)
      : model.books().unsure_counts > 0
          ? fmt::format(
                "{} counts changed hands each time that they were read: those sites may be a little off",
                count_text(static_cast<double>(model.books().unsure_counts)))
      : model.books().mode == Mode::kExact && model.books().exact_epoch == 0
          ? fmt::format("Estimates, from the samples under the exact books; counted figures: mallard dump {}",
                        view.pid)
          : std::string());
  head.push_back(column_names(view, model, width));

  return list_screen(head, view, rows, width, height, [&](const TopRow& row) {
    const std::string figures = head_of(row, model, width);
    const std::size_t left = width > report::columns(figures) ? width - report::columns(figures) : 0;
    return Line{figures + site_text(view, row.site, left), style_of(row)};
  });
}

std::vector<Line> stack_screen(const TopView& view, const TopRow& row, std::size_t width,
                               std::size_t height) {
  std::vector<Line> lines;
  lines.push_back({spread(fmt::format("Site {} of {} ({})", row.site, view.name, view.pid), "", width),
                   LineStyle::kHeading});
  lines.push_back(
      {cut(fmt::format("live {} in {} blocks; growth {}; allocated {}",
                       with_error(bytes_text(row.live.value), row.live), count_text(row.live_count),
                       with_error(change_text(row.growth.value), row.growth),
                       with_error(rate_text(row.allocated_rate.value), row.allocated_rate)),
           width)});
  lines.push_back({});
  add_scrolled(view.stack(row.site), view.first, width, height,
               [width](const std::string& line) { return shortened(line, std::max<std::size_t>(width, 1)); }, &lines);
  return lines;
}

std::vector<Line> help_screen(std::size_t width) {
  static constexpr const char* kText[] = {
      "Keys of mallard top",
      "",
      "  q              quit",
      "  h, ?           this help",
      "  space          read again now",
      "  s, d           time between two readings",
      "  L G A C        sort by live, growth, allocated, blocks/s (count)",
      "  R              sort by resident memory (after l)",
      "  l              ask for a report now: its ledger, and resident memory by site",
      "  z              count growth from now on",
      "  arrows, PgUp, PgDn, Home, End    select a site",
      "  Enter          the stack of the selected site, and back",
      "",
      "Live and allocated bytes are estimates from samples, growth likewise; errors",
      "are 95 % intervals, and ±? stands for fewer than about ten samples. In exact",
      "mode they are counts, of what was allocated since it is on. They are read from",
      "the process's memory without its help. Only l (and --ledger) sends a signal",
      "and has a report written.",
      "What counts is charged to a container, which cannot shed it: anonymous and",
      "shared memory. What the program gave back by MADV_FREE is in it here; a report",
      "takes that off, and adds locked files.",
      "",
      "Any key goes back.",
  };
  std::vector<Line> lines;
  for (const char* text : kText)
    lines.push_back({cut(text, width), lines.empty() ? LineStyle::kHeading : LineStyle::kPlain});
  return lines;
}

}  // namespace mallard::cli
