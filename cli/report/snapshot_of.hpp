// SPDX-License-Identifier: Apache-2.0
// What a JSON report says of a process and of its memory; report_file.hpp has the whole of it.
#pragma once

#include <string>
#include <vector>

#include "cli/report/report_file.hpp"
#include "cli/report/report_json.hpp"

namespace mallard::cli {

class SnapshotOf {
 public:
  /// Reads all but the call sites. \param document  of schema 2
  /// \throws Json::exception for what is no report
  SnapshotOf(const Json& document, ReportFile* report);

 private:
  void read_frames(const Json& j);
  void read_process(const Json& j);
  void read_charge(const Json& j);
  void read_allocator(const Json& j);
  void read_recording(const Json& j);
  void read_ledger(const Json& j);
  void read_pins(const Json& j);
  void read_others(const Json& j);
  void read_checks(const Json& j);
  void read_free_memory(const Json& j);
  void read_remedies(const Json& j);
  void read_probe(const Json& j);
  void read_lost(const Json& j);
  void read_latency(const Json& document);
  void read_slow_calls(const Json& j);
  void read_findings(const Json& j);
  report::Finding finding(const Json& j);
  const std::string& text(const Json& object, const char* name);
  const char* text_or_null(const Json& object, const char* name);

  ReportFile& file_;
  report::Snapshot& s_;
};

/// The frames that a stack's numbers name. \throws Error if there is no such frame
std::vector<const report::Frame*> frames_at(const Json& numbers, const ReportFile& report);

}  // namespace mallard::cli
