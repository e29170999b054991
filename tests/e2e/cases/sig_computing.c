// SPDX-License-Identifier: Apache-2.0
// The signal arrives while every thread computes inside libc (memcpy, strlen, qsort): reports come, and
// the results are right.
// BACKENDS: all
// REPORTS: 3
#include <pthread.h>
#include <signal.h>
#include "reports.h"

enum { kBytes = 1 << 20 };
static volatile int g_stop;

static int compare(const void* a, const void* b) { return *(const unsigned char*)a - *(const unsigned char*)b; }

static void* compute(void* which) {
  char* text = malloc(kBytes);
  char* copy = malloc(kBytes);
  memset(text, 'x', kBytes - 1);
  text[kBytes - 1] = 0;
  while (!g_stop) {
    memcpy(copy, text, kBytes);
    CHECK(strlen(copy) == kBytes - 1, "strlen");
    if (which) {
      fill(copy, 3000, 7);
      qsort(copy, 3000, 1, compare);
      for (int i = 1; i < 3000; i++) CHECK((unsigned char)copy[i - 1] <= (unsigned char)copy[i], "qsort");
    }
  }
  free(text);
  free(copy);
  return NULL;
}

int main(void) {
  pthread_t threads[3];
  for (uintptr_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, compute, (void*)i);
  for (int i = 1; i <= 3; i++) {
    pause_ms(30);
    pthread_kill(threads[i - 1], SIGUSR2);
    CHECK(wait_for_reports(i) == i, "%d reports after signal %d", count_reports(), i);
  }
  g_stop = 1;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return check_done();
}
