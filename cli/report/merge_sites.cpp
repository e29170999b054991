// SPDX-License-Identifier: Apache-2.0
#include "cli/report/merge_sites.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <tuple>
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
  const bool is_untold = to[name].is_null() || from.value(name, Json(nullptr)).is_null();
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
  to[name] = is_untold ? Json(nullptr) : Json(whole(a + b));
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
      const auto [at, is_new] = ranges.try_emplace({value_of(range, "from"), value_of(range, "to")}, range);
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

using Ids = std::set<std::int64_t>;

Ids renamed(const Json& ids, const std::map<std::int64_t, std::int64_t>& id_of) {
  Ids to;
  for (const Json& id : ids)
    if (id.is_number_integer()) {
      const auto found = id_of.find(id.get<std::int64_t>());
      to.insert(found == id_of.end() ? id.get<std::int64_t>() : found->second);
    }
  return to;
}

/// What sites pinned together that are one now, that one holds alone.
void give_to_one(const Json& set, std::int64_t id, Json& pinned, Json& sites) {
  for (Json& site : sites) {
    if (value_of(site, "id") != static_cast<double>(id)) continue;
    for (const auto& [to, from] : {std::pair("alone", "bytes"), {"alone_hole", "hole_bytes"}})
      for (const char* suffix : {"_bytes", "_bytes_low", "_bytes_high"})
        if (Json& sum = site[std::string(to) + suffix]; sum.is_number())
          sum = whole(sum.get<double>() + value_of(set, from));
  }
  for (const auto& [to, from, sign] : {std::tuple("alone_bytes", "bytes", 1),
                                       {"joint_bytes", "bytes", -1},
                                       {"alone_hole_bytes", "hole_bytes", 1},
                                       {"joint_hole_bytes", "hole_bytes", -1}})
    pinned[to] = whole(std::max(0.0, value_of(pinned, to) + sign * value_of(set, from)));
}

/// What goes back if all of them leave, as far as the sets and what each holds alone tell.
double together(const Ids& ids, const std::map<Ids, Json>& sets, const Json& sites) {
  double bytes = 0;
  for (const auto& [others, set] : sets)
    if (std::includes(ids.begin(), ids.end(), others.begin(), others.end())) bytes += value_of(set, "bytes");
  for (const Json& site : sites)
    if (ids.contains(static_cast<std::int64_t>(value_of(site, "id")))) bytes += value_of(site, "alone_bytes");
  return bytes;
}

/// Sets that are the same now are one.
void merge_sets(const std::map<std::int64_t, std::int64_t>& id_of, Json& pinned, Json& sites) {
  if (!pinned.is_object() || !pinned.contains("sets") || !pinned["sets"].is_array()) return;
  std::map<Ids, Json> left;
  for (Json& set : pinned["sets"]) {
    if (!set.is_object() || !set.contains("sites") || !set["sites"].is_array()) continue;
    const Ids ids = renamed(set["sites"], id_of);
    if (ids.size() == 1) give_to_one(set, *ids.begin(), pinned, sites);
    if (ids.size() < 2) continue;
    set["sites"] = ids;
    const auto [at, is_new] = left.try_emplace(ids, set);
    if (is_new) continue;
    for (const char* name : {"bytes", "hole_bytes"})
      at->second[name] = whole(value_of(at->second, name) + value_of(set, name));
    at->second["together_bytes"] =
        whole(std::max(value_of(at->second, "together_bytes"), value_of(set, "together_bytes")));
  }
  Json merged = Json::array();
  for (const auto& [ids, set] : left) {
    Json& to = merged.emplace_back(set);
    to["together_bytes"] = whole(std::max(value_of(set, "together_bytes"), together(ids, left, sites)));
  }
  std::stable_sort(merged.begin(), merged.end(),
                   [](const Json& a, const Json& b) { return value_of(a, "bytes") > value_of(b, "bytes"); });
  pinned["sets"] = std::move(merged);
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
  if (const auto pinned = document->find("pinned"); pinned != document->end())
    merge_sets(id_of, *pinned, (*document)["sites"]);
  if (const auto map = document->find("heap_map"); map != document->end() && map->is_object())
    for (Json& range : (*map)["ranges"])
      if (range.is_object()) rename(range["site"]);
}

}  // namespace mallard::cli
