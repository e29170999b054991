// SPDX-License-Identifier: Apache-2.0
// One line for each stack: folded stacks for flame graphs, and CSV for spreadsheets.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "cli/demangled.hpp"
#include "cli/report/profile.hpp"

namespace mallard::cli {

std::int64_t whole(double value) {
  constexpr double kMost = 9.2e18;
  return std::isnan(value) ? 0 : std::llround(std::clamp(value, -kMost, kMost));
}

std::string label_of(const Profile& profile, const Place& place, const SourceLine& line) {
  const ReportFrame& f = *place.frame;
  if (!line.function.empty()) return line.function;
  if (f.module.empty()) return fmt::format("{:#x}", f.pc);
  return fmt::format("{}+{:#x}", printable(module_name(*profile.report, f.module)), f.address);
}

std::string as_folded(const Profile& profile) {
  std::map<std::string, double> stacks;
  for (const PlacedSite& placed : profile.sites) {
    std::string stack;
    for (auto place = placed.stack.rbegin(); place != placed.stack.rend(); ++place)
      for (auto line = (*place)->lines.rbegin(); line != (*place)->lines.rend(); ++line) {
        std::string label = label_of(profile, **place, *line);
        std::replace(label.begin(), label.end(), ';', ':');
        if (!stack.empty()) stack += ';';
        stack += label;
      }
    stacks[stack.empty() ? "no stack" : stack] += profile.by->of(*placed.site).value;
  }
  const ReportFile& r = *profile.report;
  if (profile.by->adds_up() && r.others.sites > 0)
    stacks[fmt::format("{} more sites", r.others.sites)] += profile.by->of(r.others);
  std::string out;
  for (const auto& [stack, value] : stacks)
    if (whole(value) > 0) out += fmt::format("{} {}\n", stack, whole(value));
  return out;
}

namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
  return out;
}

/// A stack in one cell. Whole stacks of a large program took a hundred times the memory of its figures.
std::string csv_stack(const Profile& profile, const PlacedSite& placed) {
  constexpr std::size_t kFunctions = 8, kColumns = 90;
  std::string stack;
  std::size_t functions = 0;
  for (const Place* place : placed.stack)
    for (const SourceLine& line : place->lines) {
      if (++functions > kFunctions && !profile.depth_given) continue;
      if (!stack.empty()) stack += " < ";
      stack += shortened(label_of(profile, *place, line), kColumns);
      if (!line.file.empty()) stack += fmt::format(" ({}:{})", line.file, line.line);
    }
  if (functions > kFunctions && !profile.depth_given)
    stack += fmt::format(" < {} more", functions - kFunctions);
  return stack;
}

}  // namespace

std::string as_csv(const Profile& profile) {
  std::string out = "rank,site";
  for (const report::FigureFacts& f : report::kFigures)
    if (!f.pprof_type.empty()) out += fmt::format(",{0},{0}_low,{0}_high", f.field);
  out += ",stack\n";
  int rank = 0;
  for (const PlacedSite& placed : profile.sites) {
    out += fmt::format("{},{}", ++rank, placed.site->id);
    for (const report::FigureFacts& facts : report::kFigures) {
      if (facts.pprof_type.empty()) continue;
      const Figure& f = facts.of(*placed.site);
      out += fmt::format(",{},{},{}", whole(f.value), f.low ? fmt::format("{}", whole(*f.low)) : "",
                         f.high ? fmt::format("{}", whole(*f.high)) : "");
    }
    out += fmt::format(",{}\n", quoted(csv_stack(profile, placed)));
  }
  return out;
}

}  // namespace mallard::cli
