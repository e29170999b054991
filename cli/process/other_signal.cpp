// SPDX-License-Identifier: Apache-2.0
#include "cli/process/other_signal.hpp"

#include <fmt/format.h>

#include <bit>
#include <csignal>

#include "base/options.hpp"
#include "cli/process/process.hpp"

namespace mallard::cli {
namespace {

/// Best first: those that no program uses, then those that few do and whose default action is to do nothing.
constexpr const char* kCandidates[] = {"SIGRTMIN+5", "SIGRTMIN+9", "SIGUSR2",   "SIGUSR1", "SIGURG",
                                       "SIGWINCH",   "SIGIO",      "SIGVTALRM", "SIGPROF", "SIGXCPU"};

std::string name_of(int signal) {
  FixedText<32> name;
  add_signal_name(name, signal);
  return std::string(name.view());
}

std::uint64_t blocked_by_all(int pid) {
  std::uint64_t blocked = ~std::uint64_t{0};
  for (const pid_t thread : threads_of(pid))
    blocked &= signal_set(fmt::format("/proc/{}/task/{}/status", pid, thread), "SigBlk");
  return blocked;
}

}  // namespace

std::string signal_advice(int pid, int refused) {
  const std::uint64_t taken = blocked_by_all(pid) | signal_set(fmt::format("/proc/{}/status", pid), "SigCgt");
  for (const char* candidate : kCandidates) {
    const int signal = parse_signal(candidate);
    if (signal > 0 && signal != refused && !(taken >> (signal - 1) & 1))
      return fmt::format("start it with another signal: ALLOC_SIGNAL={}", candidate);
  }
  return "no signal gets through: start it with ALLOC_AT_EXIT=1, or watch it by 'mallard top'";
}

std::string blocked_words(int pid, const std::string& who, int signal) {
  constexpr int kNearlyAll = 48;  // of 62 that can be blocked
  const bool nearly_all = std::popcount(blocked_by_all(pid)) >= kNearlyAll;
  return fmt::format("every thread of {} blocks {}{}", who, name_of(signal),
                     nearly_all ? ", as nearly all signals" : "");
}

}  // namespace mallard::cli
