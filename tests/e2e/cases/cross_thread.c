// SPDX-License-Identifier: Apache-2.0
// 100,000 blocks of 200 bytes, of which another thread frees nine of ten; then their owner allocates as many
// again. Says what it has done, and waits for a line after each step (for test_cross_thread.py).
#include <pthread.h>
#include <unistd.h>
#include "check.h"

enum { kBlocks = 100000 };
static void* g_blocks[kBlocks];

static void wait_after(const char* what) {
  puts(what);
  fflush(stdout);
  char text[100];
  while (read(0, text, sizeof text) < 0 && errno == EINTR) {
  }
}

static void* free_most(void* given) {
  for (int i = 0; i < kBlocks; ++i)
    if (i % 10 != 0) {
      free(g_blocks[i]);
      g_blocks[i] = NULL;
    }
  return given;
}

int main(void) {
  for (int i = 0; i < kBlocks; ++i) memset(g_blocks[i] = malloc(200), 1, 200);
  wait_after("ready");
  pthread_t thread;
  if (pthread_create(&thread, NULL, free_most, NULL) != 0) return 1;
  pthread_join(thread, NULL);
  wait_after("freed");
  for (int i = 0; i < kBlocks; ++i)
    if (!g_blocks[i]) memset(g_blocks[i] = malloc(200), 1, 200);
  wait_after("taken");
  for (int i = 0; i < kBlocks; ++i) free(g_blocks[i]);
  return check_done();
}
