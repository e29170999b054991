// SPDX-License-Identifier: Apache-2.0
// 300 children forked while 4 threads allocate: each allocates, frees and exits, none hangs.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=8192
// mimalloc 3 does not survive every fork of a process whose other threads allocate, with mallard or without.
// AGAIN: mimalloc3 child \d+ hangs
// SECONDS: 60
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "reports.h"

static volatile int g_stop;

static void* busy(void* seed) {
  unsigned state = (unsigned)(uintptr_t)seed;
  void* blocks[256] = {0};
  while (!g_stop) {
    state = state * 1103515245u + 12345u;
    unsigned slot = state >> 8 & 255;
    free(blocks[slot]);
    blocks[slot] = malloc(state >> 16 & 4095);
  }
  for (int i = 0; i < 256; i++) free(blocks[i]);
  return NULL;
}

static void child_work(void* inherited) {
  CHECK(holds(inherited, 3000, 3), "the inherited block changed");
  free(inherited);
  void* blocks[200];
  for (int i = 0; i < 200; i++) blocks[i] = malloc((size_t)(i * 97 % 20000));
  for (int i = 0; i < 200; i++) free(blocks[i]);
  free(calloc(100, 1000));
  if (check_failures) _exit(9);
}

static void end_hung_child(int signal_number) { (void)signal_number; }

int main(void) {
  signal(SIGALRM, end_hung_child);
  siginterrupt(SIGALRM, 1);
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, busy, (void*)(i + 1));
  for (int i = 0; i < 300; i++) {
    void* inherited = malloc(3000);
    fill(inherited, 3000, 3);
    pid_t child = fork();
    if (child == 0) {
      child_work(inherited);
      if (i % 2) exit(0);
      _exit(0);
    }
    CHECK(child > 0, "fork: %s", strerror(errno));
    free(inherited);
    int status = -1;
    alarm(60);  // also on a machine that has others to serve
    pid_t ended = waitpid(child, &status, 0);
    alarm(0);
    CHECK(ended == child, "child %d hangs", i);
    CHECK(ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d: status %#x", i, status);
    if (ended != child) {
      if (getenv("E2E_WAIT_FOR_DEBUGGER")) pause_ms(1000000);
      kill(child, SIGKILL);
      break;
    }
  }
  g_stop = 1;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  return check_done();
}
