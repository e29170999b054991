// SPDX-License-Identifier: Apache-2.0
// Work that is done in a process of its own: whatever it meets in memory that changes is met there, and it can
// be ended at any time.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

namespace mallard::cli {

/// Where such a process writes what it has to tell.
class Told {
 public:
  explicit Told(int fd) : fd_(fd) {}
  void line(std::string_view text) const;
  void write(std::string_view text) const;

 private:
  int fd_;
};

struct Apart {
  bool in_time = false;   ///< false: it was ended
  bool is_whole = false;  ///< it ended by itself, and not by a fault
  std::string text;       ///< what it told
};

/// Runs `work` in a process of its own, which ends with it or with what it throws.
/// \param ended  set by another thread: nobody waits for it any more
Apart run_apart(const std::function<void(const Told& told)>& work, double timeout_seconds,
                const std::atomic<bool>* ended);

/// Takes the first line off what was told.
std::string take_line(std::string* text);

}  // namespace mallard::cli
