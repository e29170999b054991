// SPDX-License-Identifier: Apache-2.0
#include "cli/report/series.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/error.hpp"

namespace mallard::cli {
namespace {

namespace fs = std::filesystem;

struct Named {
  std::string path;
  bool of_directory;  ///< nobody named it: it may be left out, if that is said
};

std::vector<Named> files_of(const std::vector<std::string>& paths) {
  std::vector<Named> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back({path, false});
      continue;
    }
    const std::size_t before = files.size();
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error))
      if (entry.path().extension() == ".json") files.push_back({entry.path().string(), true});
    if (error) throw Error(kUnreadable, fmt::format("'{}' cannot be read: {}", path, error.message()));
    if (files.size() == before)
      throw Error(kUnreadable, fmt::format("there is no report (.json) in '{}'", path));
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end(),
              [](const Named& a, const Named& b) { return a.path < b.path; });
  }
  return files;
}

/// The same process gives the same start within what reading two clocks costs; a pid comes again.
bool same_process(const ReportFile& a, const ReportFile& b) {
  constexpr double kClockNs = 2e9;
  const auto start = [](const ReportFile& r) {
    return static_cast<double>(r.taken_at_ns) - static_cast<double>(r.uptime_ns);
  };
  if (a.pid != b.pid || a.executable != b.executable) return false;
  return a.uptime_ns == 0 || b.uptime_ns == 0 || std::abs(start(a) - start(b)) < kClockNs;
}

std::string who(const ReportFile& r) { return fmt::format("'{}' is of {}, pid {}", r.path, r.name, r.pid); }

}  // namespace

Series read_series(const std::vector<std::string>& paths, nlohmann::ordered_json* document) {
  Series series;
  for (const Named& file : files_of(paths)) {
    nlohmann::ordered_json own;
    ReportFile report;
    try {
      report = read_report(file.path, &own);
    } catch (const Error& e) {
      if (!file.of_directory) throw;
      series.notes.push_back(fmt::format("{}; it is left out", e.what()));
      continue;
    }
    if (!series.points.empty() && !same_process(series.points[0], report))
      throw Error(
          kUsage,
          fmt::format("these reports are not of one process: {}; {}", who(series.points[0]), who(report)),
          "give the reports of one process: they show its memory over time");
    if (series.points.empty() || report.taken_at_ns >= series.latest.taken_at_ns) {
      *document = std::move(own);
      series.latest = report;
    }
    report.sites = {};
    report.modules = {};
    series.points.push_back(std::move(report));
  }
  if (series.points.empty())
    throw Error(kUnreadable, "there is no report that could be read", series.notes[0]);
  std::sort(series.points.begin(), series.points.end(),
            [](const ReportFile& a, const ReportFile& b) { return a.taken_at_ns < b.taken_at_ns; });
  return series;
}

}  // namespace mallard::cli
