// SPDX-License-Identifier: Apache-2.0
// exit() from a signal handler, in the middle of allocating, with a report due at exit: 40 times, none hangs.
// BACKENDS: system
// ENV: ALLOC_SAMPLE_BYTES=1
// ENV: ALLOC_AT_EXIT=1
// SECONDS: 60
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"

static void on_alarm(int unused) {
  (void)unused;
  exit(0);
}

int main(void) {
  for (int i = 0; i < 40; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      signal(SIGALRM, on_alarm);
      struct itimerval once = {{0, 0}, {0, 3000 + i * 50}};
      setitimer(ITIMER_REAL, &once, NULL);
      alarm(0);
      setitimer(ITIMER_REAL, &once, NULL);
      for (;;) {
        // Calls through a volatile pointer stay: the loop must allocate.
        void* (*volatile allocate)(size_t) = malloc;
        free(allocate(100));
      }
    }
    int status = -1;
    for (int i = 0; i < 30000 && waitpid(pid, &status, WNOHANG) == 0; i++) usleep(1000);
    if (status != 0) kill(pid, SIGKILL);
    CHECK(status == 0, "child %d ended with %d", i, status);
  }
  return check_done();
}
