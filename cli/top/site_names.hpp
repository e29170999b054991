// SPDX-License-Identifier: Apache-2.0
// The call sites of a running process as rows of a report, so that they have the names that reports give
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/report/report_file.hpp"
#include "cli/top/process_symbols.hpp"

namespace mallard::cli {

class SiteNames {
 public:
  /// \param wrappers  functions to fold, beside those that mallard knows
  SiteNames(ProcessSymbols* symbols, std::string wrappers)
      : symbols_(*symbols), wrappers_(std::move(wrappers)) {}

  bool has(std::uint32_t site) const { return at_.contains(site); }
  /// \param addresses  return addresses, leaf first
  void add(std::uint32_t site, const std::vector<std::uint64_t>& addresses);
  /// Says anew which functions name the sites: after some were added.
  void name_all();
  /// \return nullptr for a site that was not added
  const report::SiteRow* row(std::uint32_t site) const;

 private:
  const report::Frame* frame_at(std::uint64_t address);

  ProcessSymbols& symbols_;
  std::string wrappers_;
  Storage storage_;
  std::unordered_map<std::uint64_t, std::unique_ptr<report::Frame>> frames_;
  std::vector<report::SiteRow> rows_;
  std::unordered_map<std::uint32_t, std::size_t> at_;
};

/// Functions of a site as one line of a list shows them: the one that names it, then those who called it.
std::vector<std::string> names_of(const report::Snapshot& report, const report::SiteRow& row);

}  // namespace mallard::cli
