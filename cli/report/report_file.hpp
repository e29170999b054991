// SPDX-License-Identifier: Apache-2.0
// A JSON report, read from a file that may be anything, as the plain data that the library wrote it from.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "report/model/model.hpp"

namespace mallard::cli {

/// What plain data points to: each text once, and lists.
class Storage {
 public:
  const std::string& text(std::string s) { return *texts_.insert(std::move(s)).first; }

  template <class T>
  std::span<T> list(std::vector<T> items) {
    const auto kept = std::make_shared<std::vector<T>>(std::move(items));
    lists_.push_back(kept);
    return *kept;
  }

 private:
  std::unordered_set<std::string> texts_;
  std::vector<std::shared_ptr<void>> lists_;
};

struct ReportFile {
  std::string path;  ///< as messages name it
  report::Snapshot data{};
  std::span<report::Frame>
      frames;  ///< those of data: their names are the report's, until a Symbolizer knows better
  std::span<report::SiteRow> rows;  ///< the call sites of data
  struct Line {
    std::string_view cause;
    report::Estimate bytes;
  };
  std::vector<Line> ledger;  ///< as in the file: a later version may have causes that data does not
  std::string_view verdict;  ///< name of its cause; empty where the report has none
  std::vector<std::string_view>
      findings;  ///< names of the causes of data.findings: a later version may have others
  Storage storage;

  /// What would make it a report of exact books, as a hint says it.
  std::string way_to_exact() const {
    return data.recording.is_attached
               ? "'mallard attach --mode exact' books every block of a process that runs"
               : std::string("run the program with ALLOC_MODE=exact");
  }
  bool is_exact() const { return data.recording.exact.on; }
  double rss_bytes() const { return static_cast<double>(data.rss.total); }
  double counts_bytes() const { return static_cast<double>(data.charge.counts); }
  double unexplained_bytes() const { return static_cast<double>(data.ledger.unexplained_bytes); }
  std::string_view mode() const { return kModeNames[static_cast<int>(report::mode_of(data.recording))]; }
};

/// \param path      "-" for standard input
/// \param document  if not null, all of the file as well, as schema 2 has it
/// \throws Error (kUnreadable) that says what is wrong with the file
ReportFile read_report(const std::string& path, nlohmann::ordered_json* document = nullptr);
/// Reads a report from its text. \param shown  the path that messages name
ReportFile parse_report(const std::string& text, const std::string& shown,
                        nlohmann::ordered_json* document = nullptr);

/// The sites of a report's document, after a change, not yet named. \param report  stores them
std::span<report::SiteRow> read_sites(const nlohmann::ordered_json& document, ReportFile* report);

/// The call sites, in the order of the file.
inline std::span<const report::SiteRow> sites_of(const report::Snapshot& s) {
  return {s.sites, s.site_count};
}
/// The return addresses of a call site, leaf first.
inline std::span<const report::Frame* const> stack_of(const report::SiteRow& row) {
  return {row.frames, static_cast<std::size_t>(row.depth)};
}
/// Says anew which functions name the call sites: after they have got other names, or to fold more.
/// \param wrappers  functions to fold, beside those of the report itself; empty = none
void name_sites(ReportFile* report, const std::string& wrappers);

/// Name and version.
std::string allocator_text(const report::Snapshot& s);
/// How text names a module: its file's name; the executable goes by the name under which it was started.
std::string module_name(const report::Snapshot& s, std::string_view module);
/// "function  [module]", "module+0x1a2b", or the bare address.
std::string frame_text(const report::Snapshot& s, const report::Frame& frame);

}  // namespace mallard::cli
