// SPDX-License-Identifier: Apache-2.0
// Return addresses turned into functions, files and lines.
#pragma once

#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

struct SourceLine {
  std::string function;  ///< demangled; empty if unknown
  std::string file;      ///< as the compiler was given it; empty if unknown
  int line = 0;          ///< 0 = unknown
  bool inlined = false;  ///< into the function of the next entry
};

/// One return address of the report.
struct Place {
  const ReportFrame* frame;
  int module;                     ///< index into ReportFile::modules; -1 = none
  std::vector<SourceLine> lines;  ///< innermost first, never empty
  bool symbolized = false;        ///< the names come from the module's files, not from the report
};

struct PlacedSite {
  const ReportSite* site;
  std::vector<const Place*> stack;  ///< leaf first
};

}  // namespace mallard::cli
