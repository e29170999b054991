// SPDX-License-Identifier: Apache-2.0
// What reports that were taken from outside showed of a process, for the next one of the same user to tell
// growth: the process itself remembers only those that it wrote. A file for each process, in XDG_RUNTIME_DIR
// or in /tmp, until the process has ended.
#pragma once

#include <string>

namespace mallard::cli {

class Remembered {
 public:
  explicit Remembered(int pid);

  /// Puts what is remembered in the place of what was adopted from the process, where that is older.
  void recall() const;
  /// Keeps what is remembered now. That it cannot be kept is no error: the next report tells less.
  void keep() const;

 private:
  std::string path_;   ///< empty = nowhere
  std::string which_;  ///< the process, unlike any other of this machine
};

}  // namespace mallard::cli
