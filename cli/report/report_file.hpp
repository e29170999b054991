// SPDX-License-Identifier: Apache-2.0
// A JSON report, read from a file that may be anything.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "report/model/figures.hpp"

namespace mallard::cli {

/// A figure with its 95 % interval, where the report states one.
struct Figure {
  double value = 0;
  std::optional<double> low, high;
};

struct ReportModule {
  std::string path, build_id;  ///< build_id in hex, empty = none
  std::uint64_t begin = 0, end = 0, load_bias = 0;
};

/// A return address, with what the library itself could say of it.
struct ReportFrame {
  std::uint64_t pc = 0, address = 0;  ///< in the process; in the terms of the ELF file
  std::uint64_t offset = 0;           ///< from the function's start
  std::string module, function;       ///< may be empty
  std::size_t index = 0;              ///< in the report's own table
};

struct ReportSite : report::SiteFigures<Figure> {
  std::int64_t id = 0;
  std::size_t index = 0;           ///< in the report's own order
  std::vector<ReportFrame> stack;  ///< leaf first
  std::string key;                 ///< the same for the same stack in every report of the same binaries
};

struct ReportFile {
  std::string path, name, executable, command_line, backend, mode, mallard_version;
  std::int64_t pid = 0, number = 0;
  std::uint64_t taken_at_ns = 0, recorded_ns = 0;
  std::uint64_t uptime_ns = 0;  ///< of the process; 0 = unknown
  double sample_bytes = 0, rss_bytes = 0, live_bytes = 0, unexplained_bytes = 0;
  struct Verdict {
    std::string cause, text, next_step;  ///< cause is empty where the report has no verdict
  } verdict;
  struct Line {
    std::string cause;
    Figure bytes;
  };
  std::vector<Line> ledger;
  /// Sums over the sites of an exact report that have no row of their own.
  struct OtherSites : report::SiteFigures<double> {
    std::int64_t sites = 0;
  } others;
  double before_bytes = 0;  ///< live, allocated before exact recording began
  bool is_exact() const { return mode == "exact"; }
  std::vector<ReportModule> modules;
  std::vector<ReportSite> sites;
};

/// \param path      "-" for standard input
/// \param document  if not null, all of the file as well
/// \throws Error (kUnreadable) that says what is wrong with the file
ReportFile read_report(const std::string& path, nlohmann::ordered_json* document = nullptr);
/// Reads a report from its text. \param shown  the path that messages name
ReportFile parse_report(const std::string& text, const std::string& shown,
                        nlohmann::ordered_json* document = nullptr);

/// The sites of a report's document, after a change. \param report  with its modules
std::vector<ReportSite> read_sites(const nlohmann::ordered_json& document, const ReportFile& report);

/// How text names a module: its file's name; the executable goes by the name under which it was started.
std::string module_name(const ReportFile& report, const std::string& module);
/// "function  [module]", "module+0x1a2b", or the bare address.
std::string frame_text(const ReportFile& report, const ReportFrame& frame);

}  // namespace mallard::cli
