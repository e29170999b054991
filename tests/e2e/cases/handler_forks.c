// SPDX-License-Identifier: Apache-2.0
// A signal handler that forks, whatever it interrupted: nothing hangs. With glibc's malloc only: jemalloc's own
// fork handlers wait for locks that the interrupted malloc holds, with or without us.
// BACKENDS: system
// ENV: ALLOC_SAMPLE_BYTES=256
// ENV: ALLOC_AT_EXIT=1
// SECONDS: 60
#include <signal.h>
#include <sys/time.h>
#include "check.h"

static volatile int g_forks;

static void on_alarm(int unused) {
  (void)unused;
  fork_and_wait();
  if (++g_forks == 1500) {
    (void)!write(1, "ok\n", 3);
    _exit(0);
  }
}

int main(void) {
  signal(SIGALRM, on_alarm);
  struct itimerval often = {{0, 300}, {0, 300}};
  setitimer(ITIMER_REAL, &often, NULL);
  static void* blocks[64];
  for (unsigned i = 0;; i++) {
    free(blocks[i & 63]);
    blocks[i & 63] = malloc(16 + (i * 37 & 1023));
  }
}
