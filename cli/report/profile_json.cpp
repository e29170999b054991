// SPDX-License-Identifier: Apache-2.0
// The report's own JSON with symbolized stacks, and speedscope's.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <ranges>
#include <tuple>

#include "cli/report/profile.hpp"
#include "cli/report/totals.hpp"

namespace mallard::cli {
namespace {

using Json = nlohmann::ordered_json;

/// The names are printable already; what is left of the report's own text was valid when it was parsed.
std::string dumped(const Json& j, int indent) {
  return j.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// The report's frames with what the files of their modules say: one entry for each function, so that
/// inlined calls become frames of their own.
class SymbolizedFrames {
 public:
  explicit SymbolizedFrames(Json frames) : of_report_(std::move(frames)), indices_(of_report_.size()) {}

  /// Indices of the entries that a frame has become, innermost first.
  const std::vector<std::size_t>& indices_of(std::size_t frame,
                                             const std::vector<report::SourceLine>& lines) {
    std::vector<std::size_t>& indices = indices_[frame];
    for (std::size_t i = indices.size(); i < lines.size(); ++i) {
      const report::SourceLine& line = lines[i];
      indices.push_back(all_.size());
      Json& f = all_.emplace_back(of_report_[frame]);
      if (!line.function.empty()) f["function"] = line.function;
      f["file"] = line.file;
      f["line"] = line.line > 0 ? Json(line.line) : Json(nullptr);
      f["inlined"] = line.inlined;
      if (line.inlined) f["offset"] = nullptr;
    }
    return indices;
  }
  Json release() { return std::move(all_); }

 private:
  Json of_report_, all_ = Json::array();
  std::vector<std::vector<std::size_t>> indices_;
};

}  // namespace

std::string as_json(const Profile& profile, Json document) {
  SymbolizedFrames frames(std::move(document["frames"]));
  Json sites = Json::array();
  for (const report::SiteRow* row : profile.sites) {
    Json& site = sites.emplace_back(std::move(document["sites"][profile.index_of(*row)]));
    Json stack = Json::array();
    for (const report::Frame* frame : stack_of(*row))
      for (const std::size_t f : frames.indices_of(profile.index_of(*frame), lines_of(*frame)))
        stack.push_back(f);
    site["named_by"] = stack.empty() ? Json(nullptr) : Json(naming_index(*row));
    site["stack"] = std::move(stack);
  }
  document["sites"] = std::move(sites);
  if (const auto ledger = document.find("ledger"); ledger != document.end())
    for (Json& line : *ledger)
      for (Json& detail : line.contains("details") ? line["details"] : Json::array())
        if (Json& frame = detail["frame"]; frame.is_number_unsigned())
          frame = frames.indices_of(frame.get<std::size_t>(), {report::SourceLine{}}).back();
  document["frames"] = frames.release();
  document["functions"] = totals_json(profile, totals_by_function(profile));
  document["module_totals"] = totals_json(profile, totals_by_module(profile));
  return dumped(document, 1);
}

std::string as_speedscope(const Profile& profile) {
  std::map<std::tuple<std::string, std::string_view, int>, std::size_t> known;
  Json frames = Json::array();
  const auto index_of = [&](const report::Frame& frame, const report::SourceLine& line) {
    const std::string label = label_of(profile, frame, line);
    const auto [at, is_new] = known.try_emplace({label, line.file, line.line}, known.size());
    if (is_new) {
      Json& f = frames.emplace_back(Json{{"name", label}});
      if (!line.file.empty()) f["file"] = line.file;
      if (line.line > 0) f["line"] = line.line;
    }
    return at->second;
  };
  Json stacks = Json::array();
  for (const report::SiteRow* row : profile.sites) {
    Json stack = Json::array();
    for (const report::Frame* frame : stack_of(*row) | std::views::reverse) {
      const std::vector<report::SourceLine> lines = lines_of(*frame);
      for (const report::SourceLine& line : lines | std::views::reverse)
        stack.push_back(index_of(*frame, line));
    }
    stacks.push_back(std::move(stack));
  }
  Json profiles = Json::array();
  int active = 0;
  for (const report::FigureFacts& figure : report::kFigures) {
    if (figure.name.empty() || !profile.has(figure)) continue;
    if (&figure == profile.by) active = static_cast<int>(profiles.size());
    Json samples = Json::array(), weights = Json::array();
    std::int64_t total = 0;
    for (std::size_t i = 0; i < profile.sites.size(); ++i) {
      const std::int64_t value = whole(figure.of(*profile.sites[i]).value);
      if (value <= 0 || stacks[i].empty() || __builtin_add_overflow(total, value, &total)) continue;
      samples.push_back(stacks[i]);
      weights.push_back(value);
    }
    profiles.push_back({{"type", "sampled"},
                        {"name", figure.words},
                        {"unit", figure.is_bytes() ? "bytes" : "none"},
                        {"startValue", 0},
                        {"endValue", total},
                        {"samples", std::move(samples)},
                        {"weights", std::move(weights)}});
  }
  const report::ProcessFacts& process = profile.report.process;
  return dumped(
      {{"$schema", "https://www.speedscope.app/file-format-schema.json"},
       {"name", fmt::format("{}, pid {}, report {}", process.name, process.pid, profile.report.number)},
       {"exporter", "mallard " MALLARD_VERSION},
       {"activeProfileIndex", active},
       {"shared", {{"frames", std::move(frames)}}},
       {"profiles", std::move(profiles)}},
      -1);
}

}  // namespace mallard::cli
