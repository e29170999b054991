// SPDX-License-Identifier: Apache-2.0
// A handler of the host that allocates (many do) while the main program is in malloc only at safe points:
// between calls; and reports while four threads allocate as fast as they can.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=2048
// REPORTS: 3
#include <pthread.h>
#include <signal.h>
#include "reports.h"

static volatile int g_stop;
static volatile sig_atomic_t g_runs;

static void handler(int number) {
  (void)number;
  free(malloc(3000));
  g_runs++;
}

static void* busy(void* seed) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  unsigned state = (unsigned)(uintptr_t)seed;
  void* blocks[512] = {0};
  while (!g_stop) {
    state = state * 1103515245u + 12345u;
    unsigned slot = state >> 8 & 511;
    blocks[slot] = realloc(blocks[slot], (state >> 16 & 8191) + 1);
  }
  for (int i = 0; i < 512; i++) free(blocks[i]);
  return NULL;
}

int main(void) {
  signal(SIGUSR2, handler);
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, busy, (void*)(i + 1));
  for (int i = 1; i <= 3; i++) {
    pause_ms(20);
    signal_from_outside(SIGUSR2);
    CHECK(wait_for_reports(i) == i, "%d reports after signal %d", count_reports(), i);
  }
  CHECK(g_runs == 3, "the handler ran %d times", (int)g_runs);
  g_stop = 1;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  return check_done();
}
