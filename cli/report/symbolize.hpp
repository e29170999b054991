// SPDX-License-Identifier: Apache-2.0
// Symbolizes a report from the files of its modules, where they are the very files that the process ran.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/report/places.hpp"

namespace mallard::cli {

class Symbolizer {
 public:
  /// Reads what the addresses of all sites need, module by module. Addresses of modules whose files are not
  /// there, or are others, keep what the report says.
  explicit Symbolizer(const ReportFile& report);
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  const Place* place_of(const ReportFrame& frame) const;
  /// One line for each module that could not be used, for standard error.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  using Key = std::pair<int, std::uint64_t>;  ///< module, address in it; or no module and the pc
  Key key_of(const ReportFrame& frame) const;
  int module_of(const ReportFrame& frame) const;

  const ReportFile& report_;
  std::map<std::string, std::vector<int>> modules_by_path_;
  std::map<Key, Place> places_;
  std::vector<std::string> notes_;
};

}  // namespace mallard::cli
