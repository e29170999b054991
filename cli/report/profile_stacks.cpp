// SPDX-License-Identifier: Apache-2.0
// One line for each stack: folded stacks for flame graphs, and CSV for spreadsheets.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <ranges>

#include "cli/demangled.hpp"
#include "cli/report/profile.hpp"
#include "report/model/naming.hpp"

namespace mallard::cli {

std::int64_t whole(double value) {
  constexpr double kMost = 9.2e18;
  return std::isnan(value) ? 0 : std::llround(std::clamp(value, -kMost, kMost));
}

std::vector<report::SourceLine> lines_of(const report::Frame& f) {
  if (f.lines.empty()) return {{f.function, "", 0, false}};
  return {f.lines.begin(), f.lines.end()};
}

std::string label_of(const Profile& profile, const report::Frame& f, const report::SourceLine& line) {
  if (!line.function.empty()) return std::string(line.function);
  if (f.module.empty()) return fmt::format("{:#x}", f.pc);
  return fmt::format("{}+{:#x}", printable(module_name(profile.report, f.module)), f.module_address);
}

std::size_t naming_index(const report::SiteRow& row) {
  std::size_t index = 0;
  for (report::StackWalk walk(row); !walk.is_done(); walk.next(), ++index)
    if (walk.place().frame == row.naming.frame && walk.place().line == row.naming.line) return index;
  return 0;
}

std::string naming_label(const Profile& profile, const report::SiteRow& row) {
  const report::StackFunction named = report::naming_function(row);
  return named.frame ? label_of(profile, *named.frame, {named.name, "", 0, false}) : "no stack";
}

std::string as_folded(const Profile& profile) {
  std::map<std::string, double> stacks;
  for (const report::SiteRow* row : profile.sites) {
    std::string stack;
    for (const report::Frame* frame : stack_of(*row) | std::views::reverse) {
      const std::vector<report::SourceLine> lines = lines_of(*frame);
      for (const report::SourceLine& line : lines | std::views::reverse) {
        std::string label = label_of(profile, *frame, line);
        std::replace(label.begin(), label.end(), ';', ':');
        if (!stack.empty()) stack += ';';
        stack += label;
      }
    }
    stacks[stack.empty() ? "no stack" : stack] += profile.by->of(*row).value;
  }
  const report::OtherSites& others = profile.report.others;
  if (profile.by->adds_up() && others.sites > 0)
    stacks[fmt::format("{} more sites", others.sites)] += profile.by->of(others);
  std::string out;
  for (const auto& [stack, value] : stacks)
    if (whole(value) > 0) out += fmt::format("{} {}\n", stack, whole(value));
  return out;
}

namespace {

/// A cell that begins so would be a formula to a spreadsheet, which is asked by names that somebody else
/// chose.
bool is_formula(const std::string& text) {
  return !text.empty() && std::string_view("=+-@\t\r").find(text[0]) != std::string_view::npos;
}

std::string quoted(const std::string& text) {
  std::string out = is_formula(text) ? "\"'" : "\"";
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
  return out;
}

constexpr std::size_t kColumns = 90;  ///< of a function

/// A stack in one cell. Whole stacks of a large program took a hundred times the memory of its figures.
std::string csv_stack(const Profile& profile, const report::SiteRow& row) {
  constexpr std::size_t kFunctions = 8;
  std::string stack;
  std::size_t functions = 0;
  for (const report::Frame* frame : stack_of(row))
    for (const report::SourceLine& line : lines_of(*frame)) {
      if (++functions > kFunctions && !profile.depth_given) continue;
      if (!stack.empty()) stack += " < ";
      stack += shortened(label_of(profile, *frame, line), kColumns);
      if (!line.file.empty()) stack += fmt::format(" ({}:{})", line.file, line.line);
    }
  if (functions > kFunctions && !profile.depth_given)
    stack += fmt::format(" < {} more", functions - kFunctions);
  return stack;
}

}  // namespace

std::string as_csv(const Profile& profile) {
  std::string out = "rank,site,function";
  for (const report::FigureFacts& f : report::kFigures)
    if (!f.pprof_type.empty()) out += fmt::format(",{0},{0}_low,{0}_high", f.field);
  out += ",stack\n";
  int rank = 0;
  for (const report::SiteRow* row : profile.sites) {
    out += fmt::format("{},{},{}", ++rank, row->id, quoted(shortened(naming_label(profile, *row), kColumns)));
    for (const report::FigureFacts& facts : report::kFigures) {
      if (facts.pprof_type.empty()) continue;
      const report::Estimate& f = facts.of(*row);
      out += (facts.may_be_untold() && !f.has_interval) ||
                     (facts.figure == report::SiteFigure::kAtPeak && !profile.report.peak.known)
                 ? ","
                 : fmt::format(",{}", whole(f.value));
      out += f.has_interval ? fmt::format(",{},{}", whole(f.low), whole(f.high)) : ",,";
    }
    out += fmt::format(",{}\n", quoted(csv_stack(profile, *row)));
  }
  return out;
}

}  // namespace mallard::cli
