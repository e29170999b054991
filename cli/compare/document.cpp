// SPDX-License-Identifier: Apache-2.0
// A comparison as JSON, and as the page that shows this.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/compare/columns.hpp"
#include "cli/compare/tables.hpp"
#include "cli/html_page.hpp"

namespace mallard::cli::compare {
namespace {

/// \param first  the first candidate's, which is held against nothing
nlohmann::ordered_json json_of(const Figure& f, const Figure& first) {
  constexpr std::string_view kDifferences[] = {"equal", "less", "more"};
  if (!f.known) return nullptr;
  return {{"median", f.median},
          {"least", f.least},
          {"most", f.most},
          {"than_first", first.known && &f != &first
                             ? nlohmann::ordered_json(kDifferences[static_cast<int>(difference(first, f))])
                             : nlohmann::ordered_json(nullptr)}};
}

/// At most so many points, each with the most that was resident since the one before.
nlohmann::ordered_json json_of(const std::vector<Moment>& curve) {
  constexpr std::size_t kMostPoints = 300;
  const std::size_t each = (curve.size() + kMostPoints - 1) / kMostPoints;
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < curve.size(); i += each) {
    const auto end = curve.begin() + static_cast<std::ptrdiff_t>(std::min(i + each, curve.size()));
    const Moment most = *std::max_element(curve.begin() + static_cast<std::ptrdiff_t>(i), end,
                                          [](const Moment& a, const Moment& b) { return a.bytes < b.bytes; });
    out.push_back({std::round(most.seconds * 100) / 100, std::llround(most.bytes)});
  }
  return out;
}

nlohmann::ordered_json json_of(const Ledger& ledger) {
  if (!ledger.known) return nullptr;
  const auto rounded = [](const Bytes& all) {
    nlohmann::ordered_json out = nlohmann::ordered_json::object();
    for (const auto& [name, bytes] : all) out[name] = std::llround(bytes);
    return out;
  };
  return {{"counts_bytes", std::llround(ledger.counts_bytes)},
          {"ledger", rounded(ledger.lines)},
          {"other_allocators", rounded(ledger.others)}};
}

/// \param of  the value of an operation's time
template <class Of>
nlohmann::ordered_json latency_json(Of of) {
  nlohmann::ordered_json j = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < kTimedCount; ++i)
    for (std::size_t k = 0; k < kTimeCount; ++k)
      j[std::string(kTimedOperations[i])][std::string(kTimes[k].field)] = of(i, k);
  return j;
}

nlohmann::ordered_json json_of(const Trial& t) {
  using nlohmann::ordered_json;
  ordered_json j = {{"failure", t.failure.empty() ? ordered_json(nullptr) : ordered_json(t.failure)},
                    {"wall_seconds", t.wall_seconds},
                    {"cpu_seconds", t.cpu_seconds},
                    {"metric", t.metric ? ordered_json(*t.metric) : ordered_json(nullptr)},
                    {"page_faults", t.faults},
                    {"peak_bytes", t.peak_bytes},
                    {"after_load_bytes", t.after_load_bytes},
                    {"after_idle_bytes", t.after_idle_bytes}};
  j["load_began_seconds"] = t.load_began_seconds;
  j["load_ended_seconds"] = t.load_ended_seconds;
  j["curve"] = json_of(t.curve);
  j["latency"] = latency_json([&t](std::size_t i, std::size_t k) {
    return t.latency[i][k] ? ordered_json(*t.latency[i][k]) : ordered_json(nullptr);
  });
  j["after_load"] = json_of(t.after_load);
  j["after_idle"] = json_of(t.after_idle);
  return j;
}

nlohmann::ordered_json document(const Plan& plan, const Summary& s) {
  using nlohmann::ordered_json;
  ordered_json j = {{"schema_version", 1}, {"command", plan.command}, {"rounds", plan.rounds}};
  j["server"] = plan.is_server();
  j["candidates"] = ordered_json::array();
  for (const Row& row : s.rows) {
    ordered_json& c = j["candidates"].emplace_back(ordered_json{
        {"name", row.candidate.name}, {"serves", row.served}, {"variables", row.candidate.variables}});
    c["remark"] = remark(plan, row);
    c["failures"] = row.failures;
    c["same_result"] = row.same_result;
    for (const Column& column : all_columns())
      c[column.field] = json_of(row.*column.figure, s.rows[0].*column.figure);
    c["latency"] = latency_json(
        [&](std::size_t i, std::size_t k) { return json_of(row.latency[i][k], s.rows[0].latency[i][k]); });
    c["runs"] = ordered_json::array();
    for (const Trial& t : row.trials) c["runs"].push_back(json_of(t));
  }
  j["best"] = s.rows[s.best].candidate.name;
  j["best_change"] = s.best_change();
  j["advice"] = s.advice;
  j["noise"] = noise_words(plan);
  j["timed"] = timed_words(s);
  return j;
}

}  // namespace

std::string as_json(const Plan& plan, const Summary& s) {
  return document(plan, s).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string as_html(const Plan& plan, const Summary& s) {
  using nlohmann::ordered_json;
  ordered_json page{
      {"command", MALLARD_VERSION}, {"causes", causes_for_page()}, {"columns", ordered_json::array()}};
  for (const Column* c : columns_of(plan)) page["columns"].push_back({c->field, c->words, c->unit});
  page["comparison"] = document(plan, s);
  return html_page_of(page);
}

}  // namespace mallard::cli::compare
