// SPDX-License-Identifier: Apache-2.0
// malloc on stacks that the program made itself: swapcontext, and a signal handler on sigaltstack.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=1
// REPORTS: 1
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "reports.h"

static ucontext_t g_main, g_coroutines[8];
static void* g_blocks[8][100];

static void coroutine(int which) {
  for (int i = 0; i < 100; i++) {
    g_blocks[which][i] = malloc((size_t)(i * 10 + which));
    if (i % 2) free(g_blocks[which][i]), g_blocks[which][i] = NULL;
    if (i % 10 == 9) swapcontext(&g_coroutines[which], &g_main);
  }
}

static void handler(int number) {
  (void)number;
  free(malloc(500));
}

int main(void) {
  for (int i = 0; i < 8; i++) {
    // One stack in eight is a heap block, as many coroutine libraries have it; the others are mappings.
    size_t size = 64 * 1024;
    void* stack = i == 0 ? malloc(size)
                         : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    getcontext(&g_coroutines[i]);
    g_coroutines[i].uc_stack.ss_sp = stack;
    g_coroutines[i].uc_stack.ss_size = size;
    g_coroutines[i].uc_link = &g_main;
    makecontext(&g_coroutines[i], (void (*)(void))coroutine, 1, i);
  }
  for (int round = 0; round < 10; round++)
    for (int i = 0; i < 8; i++) swapcontext(&g_main, &g_coroutines[i]);
  stack_t other = {.ss_sp = malloc(65536), .ss_size = 65536};
  sigaltstack(&other, NULL);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &action, NULL);
  for (int i = 0; i < 50; i++) raise(SIGUSR1);
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  for (int i = 0; i < 8; i++)
    for (int k = 0; k < 100; k++) free(g_blocks[i][k]);
  return check_done();
}
