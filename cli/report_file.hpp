// SPDX-License-Identifier: Apache-2.0
// A JSON report, read from a file that may be anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mallard::cli {

/// A figure with its 95 % interval, where the report states one.
struct Figure {
  double value = 0;
  std::optional<double> low, high;
};

struct ReportSite {
  std::vector<std::string> frames;  ///< leaf first: "function  [module]", or module+address
  std::string key;                  ///< the same for the same stack in every report of the same binaries
  Figure live_bytes, live_count, allocated_bytes, resident_bytes, hole_bytes;
};

struct ReportFile {
  std::string path, name, backend, mode;
  std::int64_t pid = 0, number = 0;
  std::uint64_t taken_at_ns = 0;
  double sample_bytes = 0, rss_bytes = 0, unexplained_bytes = 0;
  struct Line {
    std::string cause;
    Figure bytes;
  };
  std::vector<Line> ledger;
  std::vector<ReportSite> sites;
};

/// \throws Error (kUnreadable) that says what is wrong with the file
ReportFile read_report(const std::string& path);

}  // namespace mallard::cli
