// SPDX-License-Identifier: Apache-2.0
// A handler that interrupts a test again and again.
#pragma once

#include <signal.h>
#include <time.h>

#include "tests/unit/catch.hpp"

/// SIGALRM comes every so many nanoseconds, as long as it lives.
class Alarms {
 public:
  Alarms(void (*handler)(int), long nanoseconds) {
    struct sigaction action {};
    action.sa_handler = handler;
    sigaction(SIGALRM, &action, &before_);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0);
    const itimerspec often{{0, nanoseconds}, {0, nanoseconds}};
    timer_settime(timer_, 0, &often, nullptr);
  }
  ~Alarms() {
    timer_delete(timer_);
    sigaction(SIGALRM, &before_, nullptr);
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

 private:
  struct sigaction before_ {};
  timer_t timer_{};
};
