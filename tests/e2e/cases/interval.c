// SPDX-License-Identifier: Apache-2.0
// ALLOC_INTERVAL asks for reports by itself, in forked children too, and never calls the host's own handler.
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

int main(void) {
  signal(SIGUSR2, own);
  CHECK(wait_for_reports(2) >= 2, "no reports");
  const pid_t child = fork();
  if (child == 0) _exit(wait_for_reports(2) >= 2 ? 0 : 1);
  int status = -1;
  while (waitpid(child, &status, 0) != child) {  // the timer interrupts
  }
  CHECK(status == 0, "the child was not asked: status %d", status);
  CHECK(!g_called, "the host's handler was called");
  return check_done();
}
