// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/columns.hpp"

#include <fmt/format.h>

#include <set>

#include "base/numbers.hpp"
#include "cli/units.hpp"

namespace mallard::cli::compare {

std::string seconds_text(double seconds) { return fmt::format("{:.2f} s", seconds); }
std::string time_text(double ns) { return text_of(add_time, ns); }

namespace {

constexpr Column kColumns[] = {
    {"wall", "wall_seconds", "seconds", &Row::wall, seconds_text, true, true},
    {"CPU", "cpu_seconds", "seconds", &Row::cpu, seconds_text, true, true},
    {"metric", "metric", "count", &Row::metric, count_text, true, false},
    {"faults", "page_faults", "count", &Row::faults, count_text, false, true},
    {"peak RSS", "peak_bytes", "bytes", &Row::peak, bytes_text, true, true},
    {"after load", "after_load_bytes", "bytes", &Row::after_load, bytes_text, true, false},
    {"after idle", "after_idle_bytes", "bytes", &Row::after_idle, bytes_text, true, false},
};

}  // namespace

std::span<const Column> all_columns() { return kColumns; }

std::vector<const Column*> columns_of(const Plan& plan) {
  std::vector<const Column*> out;
  for (const Column& c : kColumns)
    if ((plan.is_server() ? c.of_servers : c.of_batches) &&
        (c.figure != &Row::metric || !plan.metric.empty()))
      out.push_back(&c);
  return out;
}

std::string remark(const Plan& plan, const Row& row) {
  if (!row.failure.empty())
    return fmt::format("{} of {} runs failed: {}", row.failures, row.trials.size(), row.failure);
  if (!row.same_result)
    return plan.is_server() ? "--check printed something else than as shipped"
                            : "the program printed something else than as shipped";
  for (const Trial& t : row.trials)
    if (plan.times_calls && !t.inside.empty())
      return fmt::format("times of calls are not told: {} inside serves some that are not seen", t.inside);
  return "";
}

const char* noise_words(const Plan& plan) {
  return plan.rounds == 1 ? "within 10 % of as shipped, which is taken for noise where there is one run"
                          : "noise alone may part it from as shipped";
}

std::string timed_words(const Summary& s) {
  std::set<std::uint64_t> shares;
  for (const Row& row : s.rows)
    for (const Trial& t : row.trials)
      if (t.timed_every > 0) shares.insert(t.timed_every);
  if (shares.empty()) return "none timed";
  if (shares.size() > 1) return "a share timed";
  return *shares.begin() == 1 ? "all timed" : fmt::format("one of {} timed", *shares.begin());
}

}  // namespace mallard::cli::compare
