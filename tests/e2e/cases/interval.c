// SPDX-License-Identifier: Apache-2.0
// ALLOC_INTERVAL asks for reports by itself, in forked children too, ends no call of the host's that waits, leaves a process of
// one thread one of one thread, and never calls the host's own handler.
// BACKENDS: system jemalloc
// ENV: ALLOC_INTERVAL=100ms
#include <signal.h>
#include <sys/wait.h>
#include "reports.h"

static volatile sig_atomic_t g_called;

static void own(int number) {
  (void)number;
  g_called = 1;
}

// A process of one thread looks while it runs, and a report begins in code of its own.
static int work_for_reports(int wanted) {
  for (int i = 0; i < 8000 && count_reports() < wanted; i++)
    for (volatile int n = 0; n < 3000000; n++) {
    }
  return wait_for_reports(wanted);
}

// Three intervals long.
static int sleeps_through(void) {
  const struct timespec rest = {0, 300000000};
  return nanosleep(&rest, NULL) == 0;
}

// Between two reports; the reporter's thread takes a moment to end.
static int is_alone(void) {
  for (int i = 0; i < 4000; i++) {
    if (count_threads() == 1) return 1;
    pause_ms(1);
  }
  return 0;
}

int main(void) {
  signal(SIGUSR2, own);
  CHECK(work_for_reports(2) >= 2, "no reports");
  const pid_t child = fork();
  if (child == 0) {
    if (work_for_reports(2) < 2) _exit(1);
    _exit(sleeps_through() && is_alone() ? 0 : 2);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child, "waiting ended early: errno %d", errno);
  CHECK(status == 0, "the child was not asked (256), or woken up or not alone (512): status %d", status);
  CHECK(sleeps_through(), "woken up: errno %d", errno);
  CHECK(is_alone(), "never alone");
  CHECK(!g_called, "the host's handler was called");
  return check_done();
}
