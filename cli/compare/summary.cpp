// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/units.hpp"

namespace mallard::cli::compare {
namespace {

template <class Of>
Figure figure_over(const Row& row, Of of) {
  std::vector<double> values;
  for (const Trial& t : row.trials)
    if (t.failure.empty()) values.push_back(of(t));
  return figure_of(std::move(values));
}

/// A figure that each run must have told.
template <class Of>
Figure figure_if_told(const Row& row, Of of) {
  Figure out = figure_over(row, [&of](const Trial& t) { return of(t).value_or(0); });
  for (const Trial& t : row.trials) out.known = out.known && (!t.failure.empty() || of(t).has_value());
  return out;
}

void add_figures(Row* row) {
  row->wall = figure_over(*row, [](const Trial& t) { return t.wall_seconds; });
  row->cpu = figure_over(*row, [](const Trial& t) { return t.cpu_seconds; });
  row->peak = figure_over(*row, [](const Trial& t) { return t.peak_bytes; });
  row->after_load = figure_over(*row, [](const Trial& t) { return t.after_load_bytes; });
  row->after_idle = figure_over(*row, [](const Trial& t) { return t.after_idle_bytes; });
  row->faults = figure_over(*row, [](const Trial& t) { return t.faults; });
  row->metric = figure_if_told(*row, [](const Trial& t) { return t.metric; });
  for (std::size_t i = 0; i < kTimedCount; ++i)
    for (std::size_t k = 0; k < kTimeCount; ++k)
      row->latency[i][k] = figure_if_told(*row, [i, k](const Trial& t) { return t.latency[i][k]; });
  for (const Trial& t : row->trials) {
    if (!t.failure.empty()) ++row->failures;
    if (row->failure.empty()) row->failure = t.failure;
    if (row->served.empty()) row->served = t.served;
  }
}

/// The result of the first candidate's first run that went through.
const std::string* expected_result(const std::vector<Row>& rows) {
  if (!rows.empty())
    for (const Trial& t : rows[0].trials)
      if (t.failure.empty()) return &t.result;
  return nullptr;
}

void compare_results(std::vector<Row>* rows) {
  const std::string* expected = expected_result(*rows);
  if (!expected) return;
  for (Row& row : *rows)
    for (const Trial& t : row.trials)
      if (t.failure.empty() && t.result != *expected) row.same_result = false;
}

/// "37 % less"; empty where the two are told apart by nothing.
std::string change_words(const Figure& from, const Figure& to) {
  const Difference d = difference(from, to);
  if (d == Difference::kEqual) return "";
  const double change = std::fabs(to.median / from.median - 1);
  return fmt::format("{:.0f} % {}", change * 100, d == Difference::kLess ? "less" : "more");
}

std::string cost_words(const Summary& s, const Row& best) {
  if (best.trials.size() < 2) return "what that costs in time takes more than one run to tell";
  const Row& first = s.rows[0];
  std::string out;
  const std::string cpu = change_words(first.cpu, best.cpu), wall = change_words(first.wall, best.wall);
  out += cpu.empty() ? "CPU is equal within the noise" : cpu + " CPU";
  out += wall.empty() ? ", and so is the time" : fmt::format(", {} time", wall);
  if (cpu.empty() != wall.empty() && wall.empty()) out = cpu + " CPU, the time is equal within the noise";
  if (const std::string metric = change_words(first.metric, best.metric); !metric.empty())
    out += fmt::format(", the load's own figure is {}", metric);
  return out;
}

std::string advice_of(const Summary& s) {
  const Row& first = s.rows[0];
  const char* when = s.is_server ? "after idling" : "at the peak";
  if (!first.went_through()) return "As shipped it did not go through: there is nothing to compare with.";
  if (s.best == 0)
    return fmt::format("Keep it as shipped: no candidate has less resident memory {} beyond the noise.",
                       when);
  const Row& best = s.rows[s.best];
  std::string out = fmt::format("{}: {:.0f} % less resident {}, {} instead of {}; {}.", best.candidate.name,
                                -s.best_change() * 100, when, bytes_text(s.deciding(best).median),
                                bytes_text(s.deciding(first).median), cost_words(s, best));
  for (std::size_t i = 1; i < s.rows.size(); ++i)
    if (i != s.best && s.rows[i].went_through() && s.rows[i].same_result &&
        s.deciding(s.rows[i]).median <= s.deciding(best).median * 1.05)
      out += fmt::format(" {} comes within 5 % of it.", s.rows[i].candidate.name);
  return out;
}

}  // namespace

double Summary::best_change() const {
  if (best == 0 || deciding(rows[0]).median <= 0) return 0;
  return deciding(rows[best]).median / deciding(rows[0]).median - 1;
}

Figure figure_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  const double median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  return {true, median, values.front(), values.back()};
}

Difference difference(const Figure& from, const Figure& to) {
  if (!from.known || !to.known || from.median <= 0) return Difference::kEqual;
  constexpr double kLeast = 0.02, kLeastOfOneRun = 0.1;
  const bool scatters = from.most > from.least || to.most > to.least;
  const double scatter = from.most - from.least + to.most - to.least;
  const double noise = std::max(scatter, from.median * (scatters ? kLeast : kLeastOfOneRun));
  if (std::fabs(to.median - from.median) <= noise) return Difference::kEqual;
  return to.median < from.median ? Difference::kLess : Difference::kMore;
}

Summary summarize(const Plan& plan, std::vector<Row> rows) {
  Summary out;
  out.is_server = plan.is_server();
  for (Row& row : rows) add_figures(&row);
  compare_results(&rows);
  out.rows = std::move(rows);
  for (std::size_t i = 1; i < out.rows.size() && out.rows[0].went_through(); ++i) {
    const Row& row = out.rows[i];
    if (!row.went_through() || !row.same_result) continue;
    if (difference(out.deciding(out.rows[0]), out.deciding(row)) != Difference::kLess) continue;
    if (out.best == 0 || out.deciding(row).median < out.deciding(out.rows[out.best]).median) out.best = i;
  }
  out.advice = advice_of(out);
  return out;
}

}  // namespace mallard::cli::compare
