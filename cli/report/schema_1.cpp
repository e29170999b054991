// SPDX-License-Identifier: Apache-2.0
// Reports of schema version 1, in which every site carried its frames in full, and details their functions.
#include <cstdint>
#include <map>
#include <optional>

#include "cli/report/schema_1.hpp"

namespace mallard::cli {
namespace {

/// Index of a frame's module. Files may be replaced and loaded again while a process runs: then several
/// modules have one path.
Json module_of(const Json& frame, Json& modules) {
  const Json& path = frame.at("module");
  if (path.get_ref<const std::string&>().empty()) return nullptr;
  const std::uint64_t pc = address_of(frame, "pc");
  std::optional<std::size_t> first;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (modules[i].at("path") != path) continue;
    if (pc > address_of(modules[i], "begin") && pc <= address_of(modules[i], "end")) return i;
    if (!first) first = i;
  }
  if (first) return *first;
  modules.push_back(
      {{"path", path}, {"build_id", ""}, {"begin", "0x0"}, {"end", "0x0"}, {"load_bias", "0x0"}});
  return modules.size() - 1;
}

}  // namespace

void upgrade_from_schema_1(Json* report) {
  Json frames = Json::array(), no_lines, sites = std::move(report->at("sites"));
  report->erase("sites");
  std::map<std::string, std::size_t> known;
  const auto index_of = [&](Json frame) -> Json {
    const auto [at, is_new] =
        known.try_emplace(frame.dump(-1, ' ', false, Json::error_handler_t::replace), frames.size());
    if (is_new) {
      frame["module"] = module_of(frame, report->at("modules"));
      frames.push_back(std::move(frame));
    }
    return at->second;
  };
  for (Json& site : sites)
    for (Json& frame : site.at("stack")) frame = index_of(std::move(frame));
  for (Json& line : report->contains("ledger") ? report->at("ledger") : no_lines) {
    const auto details = line.find("details");
    if (details == line.end()) continue;
    for (Json& detail : *details) {
      const std::string function = detail.at("function").get<std::string>();
      detail.erase("function");
      if (function.empty()) detail["frame"] = nullptr;
      else
        detail["frame"] = index_of(
            {{"pc", "0x0"}, {"module", ""}, {"address", "0x0"}, {"function", function}, {"offset", 0}});
    }
  }
  (*report)["frames"] = std::move(frames);
  (*report)["sites"] = std::move(sites);
  (*report)["schema_version"] = 2;
}

}  // namespace mallard::cli
