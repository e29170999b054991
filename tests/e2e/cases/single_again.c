// SPDX-License-Identifier: Apache-2.0
// A program of one thread is one to libc again after a report: what forks in its signal handlers, whatever they
// interrupted, does not hang in malloc's locks, and libc's word for it is what it was.
// BACKENDS: system
// REPORTS: 2
// SECONDS: 60
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include "reports.h"

extern char __libc_single_threaded __attribute__((weak));

static volatile int g_forks;
static void on_alarm(int unused) {
  (void)unused;
  fork_and_wait();
  g_forks++;
}

// Until the timer has brought so many forks.
static void allocate(int forks) {
  static void* blocks[256];
  unsigned x = 1;
  while (g_forks < forks) {
    x = x * 1103515245 + 12345;
    free(blocks[x >> 24]);
    blocks[x >> 24] = malloc(x >> 12 & 0xffff);
  }
}

static void* nothing(void* unused) { return unused; }

int main(void) {
  if (!&__libc_single_threaded) return puts("ok") < 0;  // an older libc: nothing can be told to it
  CHECK(__libc_single_threaded == 1, "it says %d at the start", __libc_single_threaded);
  signal_from_outside(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  while (count_threads() > 1) pause_ms(1);
  CHECK(fork() != 0 || (_exit(0), 0), "fork");
  CHECK(__libc_single_threaded == 1, "it says %d after a report, before fork", __libc_single_threaded);
  signal(SIGALRM, on_alarm);
  struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &often, NULL);
  allocate(500);
  setitimer(ITIMER_REAL, &never, NULL);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0, "pthread_create");
  CHECK(__libc_single_threaded == 0, "it says %d with two threads", __libc_single_threaded);
  pthread_join(thread, NULL);
  signal_from_outside(SIGUSR2);
  CHECK(wait_for_reports(2) == 2, "no second report");
  while (count_threads() > 1) pause_ms(1);
  CHECK(fork() != 0 || (_exit(0), 0), "fork");
  CHECK(__libc_single_threaded == 0, "a program that had threads of its own is changed: %d", __libc_single_threaded);
  return check_done();
}
