// SPDX-License-Identifier: Apache-2.0
// A clock_gettime of the program's own (libfaketime preloads one) that allocates under a lock, which is not recursive:
// neither the built-in backend nor a report calls it. (mimalloc does, preloaded alone, too, and waits for ever.)
// BACKENDS: system jemalloc tcmalloc
// ENV: ALLOC_SAMPLE_BYTES=1024
// FLAGS: -rdynamic
// REPORTS: 1
#include <pthread.h>
#include <signal.h>
#include "reports.h"

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static int g_times;

int clock_gettime(clockid_t clock, struct timespec* to) {
  pthread_mutex_lock(&g_mutex);
  free(malloc(5000));
  g_times++;
  pthread_mutex_unlock(&g_mutex);
  return (int)syscall(SYS_clock_gettime, clock, to);
}

int main(void) {
  void* blocks[200];
  struct timespec now;
  for (int round = 0; round < 200; round++) {
    for (int i = 0; i < 200; i++) blocks[i] = malloc((size_t)(i * 97 + round));
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int i = 0; i < 200; i++) free(blocks[i]);
  }
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "%d reports", count_reports());
  CHECK(g_times == 200, "the program's clock was asked %d times", g_times);
  return check_done();
}
