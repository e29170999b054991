// SPDX-License-Identifier: Apache-2.0
#include "cli/report/merge_sites.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "cli/report/profile.hpp"

namespace mallard::cli {
namespace {

bool are_numbers(const Json& a, const Json& b) { return a.is_number() && b.is_number(); }

double value_of(const Json& object, const std::string& name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

/// Adds `name` of a site, and combines the two intervals; where one has none, the sum has none.
void add_estimate(Json& to, const Json& from, const std::string& name) {
  const double a = value_of(to, name), b = value_of(from, name);
  double error = 0;
  for (const auto& [suffix, sign] : {std::pair("_low", -1.0), std::pair("_high", 1.0)}) {
    Json &end = to[name + suffix], other = from.value(name + suffix, Json(nullptr));
    if (!are_numbers(end, other)) {
      end = nullptr;
      continue;
    }
    const double distance = std::hypot(end.get<double>() - a, other.get<double>() - b);
    end = whole(std::max(a + b + sign * distance, 0.0));
    error = std::max(error, distance);
  }
  to[name + "_error"] = to[name + "_low"].is_null() ? Json(nullptr) : Json(whole(error));
  to[name] = whole(a + b);
}

/// Adds changes since an earlier report; unknown where one of them is.
void add_growth(Json& to, const Json& from) {
  if (!to.is_object() || !from.is_object()) return void(to = nullptr);
  const double a = value_of(to, "change"), b = value_of(from, "change");
  for (const auto& [end, sign] : {std::pair("low", -1.0), std::pair("high", 1.0)})
    to[end] = whole(a + b + sign * std::hypot(value_of(to, end) - a, value_of(from, end) - b));
  to["change"] = whole(a + b);
}

void add_sizes(Json& to, const Json& from) {
  std::map<std::pair<double, double>, Json> ranges;
  for (const Json* sizes : {&std::as_const(to), &from})
    for (const Json& range : *sizes) {
      const auto [at, is_new] =
          ranges.try_emplace({value_of(range, "from"), value_of(range, "to")}, range);
      if (is_new) continue;
      for (const char* count : {"allocated_count", "live_count"})
        at->second[count] = whole(value_of(at->second, count) + value_of(range, count));
    }
  to = Json::array();
  for (auto& [bounds, range] : ranges) to.push_back(std::move(range));
}

/// Ages of the live samples of both; the mean is by live blocks.
void add_ages(Json& to, const Json& from) {
  if (value_of(from, "live_samples") <= 0) return;
  const bool first = value_of(to, "live_samples") <= 0;
  const double a = first ? 0 : value_of(to, "live_count"), b = value_of(from, "live_count");
  const double mean = (value_of(to, "mean_age_ns") * a + value_of(from, "mean_age_ns") * b) / (a + b);
  to["mean_age_ns"] = whole(a + b > 0 ? mean : 0);
  to["oldest_ns"] = whole(std::max(value_of(to, "oldest_ns"), value_of(from, "oldest_ns")));
  to["youngest_ns"] = whole(first ? value_of(from, "youngest_ns")
                                  : std::min(value_of(to, "youngest_ns"), value_of(from, "youngest_ns")));
}

void add_site(Json& to, const Json& from) {
  add_ages(to, from);
  std::vector<std::string> estimates;
  for (const auto& [name, value] : to.items())
    if (name.ends_with("_low")) estimates.push_back(name.substr(0, name.size() - 4));
  for (const std::string& name : estimates) add_estimate(to, from, name);
  for (const char* count : {"samples", "live_samples", "temporary_count"})
    if (Json& sum = to[count]; sum.is_number()) sum = whole(sum.get<double>() + value_of(from, count));
  if (Json& largest = to["largest_bytes"]; largest.is_number())
    largest = whole(std::max(largest.get<double>(), value_of(from, "largest_bytes")));
  // Peaks are not of one moment: together the sites held as much as the largest of them, at least.
  if (Json& peak = to["peak_bytes"]; peak.is_number())
    peak = whole(std::max({peak.get<double>(), value_of(from, "peak_bytes"), value_of(to, "live_bytes")}));
  if (from.contains("sizes")) add_sizes(to["sizes"], from["sizes"]);
  if (from.contains("growth"))
    for (const char* since : {"since_first", "since_previous"})
      add_growth(to["growth"][since], from["growth"].value(since, Json(nullptr)));
  to["merged_sites"] = whole(value_of(to, "merged_sites")) + 1;
}

}  // namespace

void merge_sites(Json* document, std::size_t depth) {
  std::map<std::vector<std::size_t>, std::size_t> known;
  std::map<std::int64_t, std::int64_t> id_of;
  Json merged = Json::array();
  for (Json& site : document->at("sites")) {
    auto stack = site.at("stack").get<std::vector<std::size_t>>();
    stack.resize(std::min(stack.size(), depth));
    site["stack"] = stack;
    site["merged_sites"] = 1;
    const auto [at, is_new] = known.try_emplace(std::move(stack), merged.size());
    const auto id = site.at("id").get<std::int64_t>();
    if (is_new) merged.push_back(std::move(site));
    else add_site(merged[at->second], site);
    id_of[id] = merged[at->second].at("id").get<std::int64_t>();
  }
  std::stable_sort(merged.begin(), merged.end(), [](const Json& a, const Json& b) {
    return value_of(a, "live_bytes") > value_of(b, "live_bytes");
  });
  (*document)["sites"] = std::move(merged);
  const auto rename = [&](Json& ids) {
    for (Json& id : ids)
      if (id.is_number_integer())
        if (const auto found = id_of.find(id.get<std::int64_t>()); found != id_of.end()) id = found->second;
  };
  if (const auto verdict = document->find("verdict"); verdict != document->end() && verdict->is_object())
    rename((*verdict)["sites"]);
  if (const auto findings = document->find("findings"); findings != document->end())
    for (Json& finding : *findings)
      if (finding.is_object()) rename(finding["sites"]);
  if (const auto map = document->find("heap_map"); map != document->end() && map->is_object())
    for (Json& range : (*map)["ranges"])
      if (range.is_object()) rename(range["site"]);
}

}  // namespace mallard::cli
