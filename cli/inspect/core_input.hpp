// SPDX-License-Identifier: Apache-2.0
// A core file as it is stored: as the kernel or gcore wrote it, or compressed, as systemd-coredump keeps it.
#pragma once

#include <string>

#include "cli/file.hpp"

namespace mallard::cli {

/// A descriptor of the core file's bytes, closed at the end.
class CoreInput {
 public:
  /// Decompresses, by the command that belongs to the format, into a file without a name in TMPDIR or
  /// /var/tmp, in which zeros take no room. \throws Error in one line
  explicit CoreInput(const std::string& path);
  int fd() const { return file_.get(); }

 private:
  Descriptor file_;
};

/// Whether what a user names is a core file: a file that begins like one, or at least is given as a path.
bool names_core(const std::string& word);

}  // namespace mallard::cli
