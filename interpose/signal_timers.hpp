// SPDX-License-Identifier: Apache-2.0
// Timers that send the process the signal of ALLOC_SIGNAL, once each time that they are set: to come back later, and for
// ALLOC_INTERVAL.
#pragma once

#include <signal.h>
#include <time.h>

#include <cstdint>

#include "base/os.hpp"
#include "base/times.hpp"

namespace mallard::interpose {

// Kept away from the values that the host may give its own timers.
inline constexpr int kRetryCookie = 0x6d616c6c, kIntervalCookie = 0x6d616c69;
inline constexpr int kNoTimer = -1;

inline bool is_timer(const siginfo_t* info, int cookie) noexcept {
  return info && info->si_code == SI_TIMER && info->si_value.sival_int == cookie;
}

/// \return a timer that is not set, or kNoTimer. \context signal handler
inline int make_timer(clockid_t clock, int signal, int cookie) noexcept {
  struct sigevent event {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = signal;
  event.sigev_value.sival_int = cookie;
  int timer = kNoTimer;
  os::call(SYS_timer_create, clock, os::arg(&event), os::arg(&timer));
  return timer;
}

/// \param ns  by the timer's clock, from now on. \context signal handler
inline void set_timer(int timer, std::uint64_t ns) noexcept {
  struct itimerspec once {};
  once.it_value = timespec_of(ns);
  os::call(SYS_timer_settime, timer, 0, os::arg(&once), 0);
}

}  // namespace mallard::interpose
