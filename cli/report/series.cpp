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
bool same_process(const report::ProcessFacts& a, const report::ProcessFacts& b) {
  constexpr double kClockNs = 2e9;
  const auto start = [](const report::ProcessFacts& p) {
    return static_cast<double>(p.taken_at_ns) - static_cast<double>(p.uptime_ns);
  };
  if (a.pid != b.pid || a.executable != b.executable) return false;
  return a.uptime_ns == 0 || b.uptime_ns == 0 || std::abs(start(a) - start(b)) < kClockNs;
}

std::string who(const ReportFile& r) {
  return fmt::format("'{}' is of {}, pid {}", r.path, r.data.process.name, r.data.process.pid);
}

std::uint64_t taken_at(const nlohmann::ordered_json& point) {
  return point["taken_at_ns"].get<std::uint64_t>();
}

nlohmann::ordered_json point_of(const ReportFile& report) {
  auto ledger = nlohmann::ordered_json::object();
  for (const ReportFile::Line& line : report.ledger) ledger[std::string(line.cause)] = line.bytes.value;
  if (!report.ledger.empty()) ledger["unexplained"] = report.unexplained_bytes();
  return {{"taken_at_ns", report.data.process.taken_at_ns},
          {"rss_bytes", report.rss_bytes()},
          {"counts_bytes", report.counts_bytes()},
          {"live_bytes", report.data.recording.on ? nlohmann::ordered_json(report.data.live_bytes.value)
                                                  : nlohmann::ordered_json(nullptr)},
          {"ledger", std::move(ledger)}};
}

}  // namespace

Series read_series(const std::vector<std::string>& paths) {
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
    if (!series.points.empty() && !same_process(series.latest.data.process, report.data.process))
      throw Error(
          kUsage,
          fmt::format("these reports are not of one process: {}; {}", who(series.latest), who(report)),
          "give the reports of one process: they show its memory over time");
    series.points.push_back(point_of(report));
    if (series.points.size() > 1 && taken_at(series.points.back()) < series.latest.data.process.taken_at_ns)
      continue;
    series.document = std::move(own);
    series.latest = std::move(report);
  }
  if (series.points.empty())
    throw Error(kUnreadable, "there is no report that could be read", series.notes[0]);
  std::sort(series.points.begin(), series.points.end(),
            [](const auto& a, const auto& b) { return taken_at(a) < taken_at(b); });
  return series;
}

}  // namespace mallard::cli
