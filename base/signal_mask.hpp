// SPDX-License-Identifier: Apache-2.0
// Signals held off for a scope, with raw system calls: the host may interpose sigprocmask.
#pragma once

#include <signal.h>

#include <cstdint>

#include "base/os.hpp"

namespace mallard {

using SignalSet = std::uint64_t;  // the kernel's
inline constexpr SignalSet kAllSignals = ~SignalSet{0};
constexpr SignalSet signal_bit(int signal) noexcept { return SignalSet{1} << (signal - 1); }

/// Blocks signals of the calling thread. \context hot (slow path), signal handlers
class [[nodiscard]] SignalsBlocked {
 public:
  explicit SignalsBlocked(SignalSet which = kAllSignals) noexcept {
    os::call(SYS_rt_sigprocmask, SIG_BLOCK, os::arg(&which), os::arg(&saved_), sizeof(SignalSet));
  }
  ~SignalsBlocked() { os::call(SYS_rt_sigprocmask, SIG_SETMASK, os::arg(&saved_), 0, sizeof(SignalSet)); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  SignalSet saved_ = 0;
};

/// Keeps the signals that a failing write raises (a closed pipe, a limit on file size) from the host, for
/// which they are not meant; one that was pending before stays.
class [[nodiscard]] WriteSignalsHeld {
 public:
  WriteSignalsHeld() noexcept : blocked_(kRaised), pending_before_(pending()) {}
  ~WriteSignalsHeld() {
    SignalSet ours = pending() & kRaised & ~pending_before_;
    const struct { long seconds, nanoseconds; } at_once{};
    for (; ours; ours = pending() & kRaised & ~pending_before_)
      if (os::call(SYS_rt_sigtimedwait, os::arg(&ours), 0, os::arg(&at_once), sizeof ours) < 0) break;
  }
  WriteSignalsHeld(const WriteSignalsHeld&) = delete;
  WriteSignalsHeld& operator=(const WriteSignalsHeld&) = delete;

 private:
  static constexpr SignalSet kRaised = signal_bit(SIGPIPE) | signal_bit(SIGXFSZ);
  static SignalSet pending() noexcept {
    SignalSet set = 0;
    os::call(SYS_rt_sigpending, os::arg(&set), sizeof set);
    return set;
  }

  SignalsBlocked blocked_;
  SignalSet pending_before_;
};

}  // namespace mallard
