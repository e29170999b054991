// SPDX-License-Identifier: Apache-2.0
#include "cli/report/totals.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/demangled.hpp"
#include "cli/units.hpp"

namespace mallard::cli {
namespace {

using Name = std::pair<std::string, std::string>;  // function, module

constexpr std::size_t kFunctionsShown = 20, kModulesShown = 10, kColumns = 60;

std::string module_of(const Profile& profile, const report::Frame& f) {
  return f.module.empty() ? "outside any file" : printable(module_name(profile.report, f.module));
}

/// Peaks of several sites do not add up: live bytes rank in their place.
const report::FigureFacts& figure_of(const Profile& profile) {
  return profile.by->adds_up() ? *profile.by : report::facts_of(report::SiteFigure::kLive);
}

/// \param names_of  the names that a frame of a stack counts for, innermost first
template <class NamesOf>
std::vector<Total> totals(const Profile& profile, NamesOf names_of) {
  std::map<Name, Total> all;
  for (const report::SiteRow* row : profile.sites) {
    std::set<Name> seen;
    for (const report::Frame* frame : stack_of(*row))
      for (Name& name : names_of(*frame)) {
        const bool is_leaf = seen.empty();
        if (!seen.insert(name).second) continue;
        Total& total = all[name];
        ++total.sites;
        for (const report::FigureFacts& f : report::kFigures) {
          if (!f.adds_up()) continue;
          f.of(total.inclusive) += f.of(*row).value;
          if (is_leaf) f.of(total.self) += f.of(*row).value;
        }
      }
  }
  std::vector<Total> sorted;
  for (auto& [name, total] : all) {
    total.name = name.first;
    total.module = name.second;
    sorted.push_back(std::move(total));
  }
  const report::FigureFacts& by = figure_of(profile);
  std::stable_sort(sorted.begin(), sorted.end(), [&by](const Total& a, const Total& b) {
    return std::pair(by.of(a.inclusive), by.of(a.self)) > std::pair(by.of(b.inclusive), by.of(b.self));
  });
  return sorted;
}

void add_table(const Profile& profile, const char* what, const std::vector<Total>& rows, std::size_t most,
               std::string* out) {
  const report::FigureFacts& by = figure_of(profile);
  if (rows.empty() || by.of(rows[0].inclusive) <= 0) return;
  const auto amount = [&](double value) {
    return by.is_bytes() ? bytes_text(value) : fmt::format("{:.0f}", value);
  };
  *out += fmt::format("\n{} by {} (a site counts once for each that its stack passes)\n", what, by.words);
  *out += fmt::format("{:>6}{:>14}{:>12}{:>8}\n", "rank", "with callees", "itself", "sites");
  for (std::size_t i = 0; i < std::min(rows.size(), most) && by.of(rows[i].inclusive) > 0; ++i)
    *out += fmt::format("{:>6}{:>14}{:>12}{:>8}   {}{}\n", fmt::format("#{}", i + 1),
                        amount(by.of(rows[i].inclusive)), amount(by.of(rows[i].self)), rows[i].sites,
                        shortened(rows[i].name, kColumns),
                        rows[i].module.empty() ? "" : fmt::format("  [{}]", rows[i].module));
}

}  // namespace

std::vector<Total> totals_by_function(const Profile& profile) {
  return totals(profile, [&](const report::Frame& frame) {
    std::vector<Name> names;
    for (const report::SourceLine& line : lines_of(frame))
      names.emplace_back(label_of(profile, frame, line), module_of(profile, frame));
    return names;
  });
}

std::vector<Total> totals_by_module(const Profile& profile) {
  return totals(profile, [&](const report::Frame& f) {
    return std::vector<Name>{{module_of(profile, f), ""}};
  });
}

std::string totals_text(const Profile& profile, std::size_t most) {
  std::string out;
  if (profile.sites.empty()) return out;
  add_table(profile, "Functions", totals_by_function(profile), most > 0 ? most : kFunctionsShown, &out);
  add_table(profile, "Modules", totals_by_module(profile), most > 0 ? most : kModulesShown, &out);
  return out;
}

nlohmann::ordered_json totals_json(const Profile& profile, const std::vector<Total>& totals) {
  auto out = nlohmann::ordered_json::array();
  for (const Total& total : totals) {
    nlohmann::ordered_json& row = out.emplace_back(nlohmann::ordered_json{{"name", total.name}});
    if (!total.module.empty()) row["module"] = total.module;
    row["sites"] = total.sites;
    for (const report::FigureFacts& f : report::kFigures) {
      if (f.name.empty() || !f.adds_up()) continue;
      const bool told = profile.is_exact() || !f.may_be_untold();
      const auto figure = [told](double value) {
        return told ? nlohmann::ordered_json(whole(value)) : nlohmann::ordered_json();
      };
      row[std::string(f.name)] = figure(f.of(total.inclusive));
      row[fmt::format("self_{}", f.name)] = figure(f.of(total.self));
    }
  }
  return out;
}

}  // namespace mallard::cli
