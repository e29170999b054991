// SPDX-License-Identifier: Apache-2.0
// A JSON report as the plain data that the library wrote it from, so that the library's own writer makes the
// command's text.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cli/report/profile.hpp"
#include "cli/report/report_json.hpp"
#include "report/model/model.hpp"

namespace mallard::cli {

class SnapshotOf {
 public:
  /// \param document  of schema 2; it must stay, as must the profile: names point into both
  /// \throws Json::exception for what is no report
  SnapshotOf(const Json& document, const Profile& profile);
  SnapshotOf(const SnapshotOf&) = delete;
  SnapshotOf& operator=(const SnapshotOf&) = delete;

  const report::Snapshot& get() const { return s_; }

 private:
  void read_process(const Json& j);
  void read_charge(const Json& j);
  void read_allocator(const Json& j);
  void read_recording(const Json& j);
  void read_ledger(const Json& j);
  void read_others(const Json& j);
  void read_checks(const Json& j);
  void read_probe(const Json& j);
  report::SiteRow read_site(const Json& j, const PlacedSite& placed);
  const report::Frame* frame_of(const Place& place);

  report::Snapshot s_{};
  std::vector<report::LedgerDetail> details_;
  std::vector<report::OtherAllocator> others_;
  std::vector<report::BoundElsewhere> bound_;
  std::vector<report::SiteRow> sites_;
  std::deque<report::Frame> frames_;
  std::map<const Place*, const report::Frame*> frame_of_place_;
  std::deque<std::vector<const report::Frame*>> stacks_;
  std::deque<std::vector<report::SourceLine>> lines_;
  std::deque<std::vector<record::ExactSizes>> sizes_;
};

}  // namespace mallard::cli
