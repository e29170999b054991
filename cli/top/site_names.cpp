// SPDX-License-Identifier: Apache-2.0
#include "cli/top/site_names.hpp"

#include "cli/demangled.hpp"
#include "report/model/naming.hpp"

namespace mallard::cli {

const report::Frame* SiteNames::frame_at(std::uint64_t address) {
  const auto known = frames_.find(address);
  if (known != frames_.end()) return known->second.get();
  const ProcessSymbols::Name& name = symbols_.name_of(address);
  auto frame = std::make_unique<report::Frame>();
  frame->pc = address;
  frame->module_index = -1;
  frame->module = storage_.text(name.module);
  frame->module_address = name.address;
  frame->function = storage_.text(name.function);
  frame->function_offset = name.offset;
  return frames_.emplace(address, std::move(frame)).first->second.get();
}

void SiteNames::add(std::uint32_t site, const std::vector<std::uint64_t>& addresses) {
  std::vector<const report::Frame*> frames;
  for (const std::uint64_t address : addresses) frames.push_back(frame_at(address));
  report::SiteRow row{};
  row.id = site;
  row.depth = static_cast<int>(frames.size());
  row.frames = storage_.list(std::move(frames)).data();
  at_[site] = rows_.size();
  rows_.push_back(row);
}

void SiteNames::name_all() {
  Arena arena;
  for (report::SiteRow& row : rows_) row.naming = {};
  report::name_sites(arena, rows_, wrappers_);
}

const report::SiteRow* SiteNames::row(std::uint32_t site) const {
  const auto found = at_.find(site);
  return found == at_.end() ? nullptr : &rows_[found->second];
}

std::vector<std::string> names_of(const report::Snapshot& report, const report::SiteRow& row) {
  std::vector<std::string> names;
  for (report::StackWalk walk(row, row.naming); !walk.is_done(); walk.next()) {
    const report::StackFunction function = walk.get();
    if (!names.empty() && report::is_folded(function, report.wrappers)) continue;
    report::Frame frame = *function.frame;
    frame.function = function.name;
    names.push_back(printable(frame_text(report, frame)));
  }
  return names;
}

}  // namespace mallard::cli
