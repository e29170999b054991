// SPDX-License-Identifier: Apache-2.0
#include "cli/report/symbolize.hpp"

#include "cli/demangled.hpp"
#include "cli/report/module_file.hpp"

namespace mallard::cli {
namespace {

/// What the report itself says of an address.
SourceLine own_words(const ReportFrame& f) { return {printable(f.function), "", 0, false}; }

}  // namespace

Symbolizer::Symbolizer(const ReportFile& report) : report_(report) {
  for (std::size_t i = 0; i < report.modules.size(); ++i)
    modules_by_path_[report.modules[i].path].push_back(static_cast<int>(i));
  for (const ReportSite& site : report.sites)
    for (const ReportFrame& frame : site.stack) {
      const Key key = key_of(frame);
      places_.try_emplace(key, Place{&frame, key.first, {own_words(frame)}});
    }
  // Keys are sorted: one module after the other, its addresses in ascending order.
  for (auto at = places_.begin(); at != places_.end();) {
    const int module = at->first.first;
    std::vector<Place*> wanted;
    for (; at != places_.end() && at->first.first == module; ++at) wanted.push_back(&at->second);
    if (module < 0 || !report.modules[static_cast<std::size_t>(module)].path.starts_with('/')) continue;
    const ModuleFile file(report.modules[static_cast<std::size_t>(module)]);
    if (!file.note().empty()) notes_.push_back(file.note());
    if (file.is_open()) file.symbolize(wanted);
  }
}

/// Files may be replaced and loaded again while a process runs: then several modules have one path.
int Symbolizer::module_of(const ReportFrame& frame) const {
  if (frame.module.empty()) return -1;
  const auto found = modules_by_path_.find(frame.module);
  if (found == modules_by_path_.end()) return -1;
  for (int i : found->second) {
    const ReportModule& m = report_.modules[static_cast<std::size_t>(i)];
    if (frame.pc - 1 >= m.begin && frame.pc - 1 < m.end) return i;
  }
  return found->second.front();
}

Symbolizer::Key Symbolizer::key_of(const ReportFrame& frame) const {
  const int module = module_of(frame);
  return {module, module < 0 ? frame.pc : frame.address};
}

const Place* Symbolizer::place_of(const ReportFrame& frame) const {
  const auto found = places_.find(key_of(frame));
  return found == places_.end() ? nullptr : &found->second;
}

}  // namespace mallard::cli
