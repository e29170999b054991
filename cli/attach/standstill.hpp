// SPDX-License-Identifier: Apache-2.0
// All threads of a process at rest at once, but one that is borrowed already: for as long as a few instructions of
// its code are written. All functions belong to the one thread of this command that is the tracer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/process_memory.hpp"

namespace mallard::cli {

/// Code in which no thread may stand, nor come back to from a signal's handler.
struct CodeSpan {
  std::uintptr_t begin, end;
};

class Standstill {
 public:
  /// \param borrowed  that stands already
  Standstill(int pid, pid_t borrowed) : pid_(pid), borrowed_(borrowed) {}
  ~Standstill() { let_go(); }
  Standstill(const Standstill&) = delete;
  Standstill& operator=(const Standstill&) = delete;

  /// Stops them. \param spans  ascending
  /// \return false where one does not stop, or stands in there: all are let go, and it may be tried again
  bool begin(std::span<const CodeSpan> spans);
  void let_go();

  /// Why the last begin() failed, a clause.
  const std::string& why() const { return why_; }

 private:
  struct Thread {
    pid_t id;
    bool stopped;
    int signal;  ///< that it is about to get
  };
  bool may_stop(pid_t thread);
  bool stop(pid_t thread);
  pid_t wait_until(double until);
  static bool is_clear(const Thread& thread, const ProcessMemory& process, std::span<const CodeSpan> spans);
  bool fail(std::string why);

  int pid_;
  pid_t borrowed_;
  std::vector<Thread> threads_;
  std::string why_;
};

}  // namespace mallard::cli
