// SPDX-License-Identifier: Apache-2.0
#include "cli/process/patient_thread.hpp"

#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "cli/process/process.hpp"

namespace mallard::cli {
namespace {

/// A line of /proc/PID/task/TID/syscall: the number, and the arguments (proc(5)).
struct Waiting {
  long call = -1;  ///< -1: in none, or it may not be read
  std::uint64_t arguments[6] = {};
};

Waiting waiting_in(const std::string& task) {
  Waiting waiting;
  std::ifstream file(task + "/syscall");
  if (!(file >> waiting.call)) return {};  // "running"
  for (std::uint64_t& argument : waiting.arguments) file >> std::hex >> argument;
  return file ? waiting : Waiting{};
}

/// 0 = not at all; futexes first, whose users look again in any case
int patience(const Waiting& waiting) {
  switch (waiting.call) {
    case SYS_futex:  // FUTEX_WAIT is what malloc's locks use: there the report has to wait, too
      return (waiting.arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && waiting.arguments[3] == 0 ? 3
                                                                                                       : 0;
    case SYS_wait4:
    case SYS_waitid:
      return 2;
    case SYS_read:
      return 1;
    default:
      return 0;
  }
}

}  // namespace

int find_patient_thread(int pid, int signal) {
  int best = 0, most = 0;
  for (const pid_t thread : threads_of(pid)) {
    const std::string path = fmt::format("/proc/{}/task/{}", pid, thread);
    const int now = patience(waiting_in(path));
    if (now <= most || (signal_set(path + "/status", "SigBlk") >> (signal - 1) & 1)) continue;
    most = now;
    best = thread;
  }
  return best;
}

}  // namespace mallard::cli
