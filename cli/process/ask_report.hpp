// SPDX-License-Identifier: Apache-2.0
// Asks a running process for a report and waits for its files.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/error.hpp"
#include "cli/process/memory_file.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {

struct NewReport {
  std::string path, text;  ///< of the JSON file
  nlohmann::json json;
};

/// The process has begun another program since it was asked, which knows nothing of the request.
struct BecameAnother : Error {
  using Error::Error;
};

/// Where the reports of a process may appear, and which of them are there already.
class ReportWatch {
 public:
  explicit ReportWatch(Target target);
  /// Asks, and waits for the answer. \param stop  ends the wait \throws Error if none comes
  NewReport ask(bool purge, double timeout_seconds, const std::atomic<bool>* stop = nullptr);
  /// A path as people write it here, where the process sees the same files as this command.
  std::string shown_path(const std::string& path) const;

 private:
  using Seen = std::map<std::string, ino_t>;  ///< by path; the inode tells a new file of an old name
  Seen reports_now() const;
  bool find_new(NewReport* out) const;
  void send(bool purge);

  void look_for_failure() const;

  Target target_;
  MemoryFile memory_;
  std::uint64_t failure_at_ = 0;  ///< where the library says what it failed at; 0 = that cannot be read
  std::uint32_t failures_before_ = 0;
  Seccomp seccomp_;  ///< as it was asked
  std::vector<std::string>
      patterns_;  ///< for glob: where its JSON reports may appear, as this command sees them
  std::vector<std::string> users_;  ///< of the process: real, effective, ...
  Seen before_;
};

}  // namespace mallard::cli
