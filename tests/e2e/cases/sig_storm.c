// SPDX-License-Identifier: Apache-2.0
// 1000 signals in a row, while threads allocate: a few reports, and the process lives.
// BACKENDS: all
#include <pthread.h>
#include <signal.h>
#include "reports.h"

static volatile int g_stop;

static void* busy(void* unused) {
  while (!g_stop) free(malloc(1000));
  return unused;
}

int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, busy, NULL);
  for (int i = 0; i < 1000; i++) {
    kill(getpid(), SIGUSR2);
    if (i % 3 == 0) pthread_kill(threads[i % 2], SIGUSR2);
  }
  CHECK(wait_for_reports(1) >= 1, "no report");
  int seen = -1;
  for (int now = count_reports(); now != seen; now = count_reports()) {
    seen = now;
    pause_ms(300);
  }
  g_stop = 1;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  CHECK(seen <= 200, "%d reports for 1334 signals", seen);
  kill(getpid(), SIGUSR2);
  CHECK(wait_for_reports(seen + 1) == seen + 1, "no report after the storm");
  fprintf(stderr, "note: 1334 signals gave %d reports\n", seen);
  return check_done();
}
