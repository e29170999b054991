// SPDX-License-Identifier: Apache-2.0
// ALLOC_INTERVAL asks for reports by itself, in forked children too, ends no call of the host's that waits, and never calls its
// own handler.
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

// Three intervals long.
static int sleeps_through(void) {
  const struct timespec rest = {0, 300000000};
  return nanosleep(&rest, NULL) == 0;
}

int main(void) {
  signal(SIGUSR2, own);
  CHECK(wait_for_reports(2) >= 2, "no reports");
  const pid_t child = fork();
  if (child == 0) {
    if (wait_for_reports(2) < 2) _exit(1);
    _exit(sleeps_through() ? 0 : 2);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child, "waiting ended early: errno %d", errno);
  CHECK(status == 0, "the child was not asked (256), or woken up (512): status %d", status);
  CHECK(sleeps_through(), "woken up: errno %d", errno);
  CHECK(!g_called, "the host's handler was called");
  return check_done();
}
