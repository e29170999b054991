// SPDX-License-Identifier: Apache-2.0
// How the command ends: its exit status, and the one exception that main turns into messages.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace mallard::cli {

enum ExitStatus : int { kDone = 0, kFinding = 1, kUsage = 2, kUnreadable = 3 };

/// Thrown with the text after "mallard: error: ", caught once in main.
class Error : public std::runtime_error {
 public:
  Error(ExitStatus status, const std::string& what, std::string hint = {})
      : std::runtime_error(what), status_(status), hint_(std::move(hint)) {}

  ExitStatus status() const { return status_; }
  const std::string& hint() const { return hint_; }  ///< empty = none

 private:
  ExitStatus status_;
  std::string hint_;
};

}  // namespace mallard::cli
