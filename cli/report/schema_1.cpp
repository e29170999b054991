// SPDX-License-Identifier: Apache-2.0
#include "cli/report/schema_1.hpp"

#include <map>
#include <string>
#include <vector>

namespace mallard::cli {
namespace {

class FrameTable {
 public:
  explicit FrameTable(Json* modules) : modules_(*modules) {
    for (std::size_t i = 0; i < modules_.size(); ++i)
      modules_by_path_[modules_[i].at("path").get<std::string>()].push_back(i);
  }

  Json index_of(Json frame) {
    frame["module"] = module_of(frame);
    const auto [at, is_new] = known_.try_emplace(frame.dump(-1, ' ', false, Json::error_handler_t::replace),
                                                 frames_.size());
    if (is_new) frames_.push_back(std::move(frame));
    return at->second;
  }
  Json release() { return std::move(frames_); }

 private:
  /// Files may be replaced and loaded again while a process runs: then several modules have one path.
  Json module_of(const Json& frame) {
    const auto path = frame.at("module").get<std::string>();
    if (path.empty()) return nullptr;
    std::vector<std::size_t>& candidates = modules_by_path_[path];
    const std::uint64_t pc = address_of(frame, "pc");
    for (const std::size_t i : candidates)
      if (pc > address_of(modules_[i], "begin") && pc <= address_of(modules_[i], "end")) return i;
    if (candidates.empty()) {
      candidates.push_back(modules_.size());
      modules_.push_back(
          {{"path", path}, {"build_id", ""}, {"begin", "0x0"}, {"end", "0x0"}, {"load_bias", "0x0"}});
    }
    return candidates.front();
  }

  Json& modules_;
  std::map<std::string, std::vector<std::size_t>> modules_by_path_;
  std::map<std::string, std::size_t> known_;
  Json frames_ = Json::array();
};

}  // namespace

void upgrade_from_schema_1(Json* report) {
  Json sites = std::move(report->at("sites"));
  report->erase("sites");
  FrameTable frames(&report->at("modules"));
  for (Json& site : sites)
    for (Json& frame : site.at("stack")) frame = frames.index_of(std::move(frame));
  if (const auto ledger = report->find("ledger"); ledger != report->end())
    for (Json& line : *ledger) {
      const auto details = line.find("details");
      if (details == line.end()) continue;
      for (Json& detail : *details) {
        const auto function = detail.at("function").get<std::string>();
        detail.erase("function");
        detail["frame"] = function.empty() ? Json(nullptr)
                                           : frames.index_of({{"pc", "0x0"},
                                                              {"module", ""},
                                                              {"address", "0x0"},
                                                              {"function", function},
                                                              {"offset", 0}});
      }
    }
  (*report)["frames"] = frames.release();
  (*report)["sites"] = std::move(sites);
  (*report)["schema_version"] = 2;
}

}  // namespace mallard::cli
