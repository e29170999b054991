// SPDX-License-Identifier: Apache-2.0
// Runtimes give their threads a small alternate signal stack: the handler, which then runs there and may
// have to start the reporter thread, fits.
// BACKENDS: system
// REPORTS: 2
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include "reports.h"

static volatile sig_atomic_t g_runs;
static void handler(int number) { g_runs += number == SIGUSR2; }

static void* on_small_stack(void* report) {
  // As Rust's runtime: SIGSTKSZ (8 KiB), or what the kernel needs for its frame plus a little, guarded below.
  size_t size = 8192 > getauxval(AT_MINSIGSTKSZ) + 4096 ? 8192 : getauxval(AT_MINSIGSTKSZ) + 4096;
  size = (size + 4095) & ~(size_t)4095;
  char* memory = mmap(NULL, size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(memory + 8192, size, PROT_READ | PROT_WRITE);
  stack_t small = {.ss_sp = memory + 8192, .ss_size = size};
  CHECK(sigaltstack(&small, NULL) == 0, "sigaltstack: %s", strerror(errno));
  signal_thread_from_outside(SIGUSR2, gettid());
  int wanted = (int)(intptr_t)report;
  CHECK(wait_for_reports(wanted) == wanted, "%d reports", count_reports());
  small.ss_flags = SS_DISABLE;
  sigaltstack(&small, NULL);
  return NULL;
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, on_small_stack, (void*)1);
  pthread_join(thread, NULL);
  struct sigaction mine = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR2, &mine, NULL);
  pthread_create(&thread, NULL, on_small_stack, (void*)2);
  pthread_join(thread, NULL);
  CHECK(g_runs == 1, "the handler ran %d times", (int)g_runs);
  return check_done();
}
