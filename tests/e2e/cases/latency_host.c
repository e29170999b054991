// SPDX-License-Identifier: Apache-2.0
// latency_host SMALL LARGE: so many mallocs of 64 bytes and of 2 MiB, and their frees, in each of two threads
// one after the other; then 'ready', and it waits for a line (for test_latency.py).
#include <pthread.h>
#include <unistd.h>
#include "check.h"

static long g_small, g_large;

__attribute__((noinline, noclone)) void* small_block(void) { return malloc(64); }
__attribute__((noinline, noclone)) void* large_block(void) { return malloc(2 << 20); }
__attribute__((noinline, noclone)) void drop(void* p) {
  free(p);
  __asm__ volatile("");
}

static void* work(void* given) {
  (void)given;
  enum { kBatch = 50 };
  void* blocks[kBatch];
  for (long i = 0; i < g_small; i += kBatch) {
    for (int k = 0; k < kBatch; ++k) blocks[k] = small_block();
    for (int k = 0; k < kBatch; ++k) drop(blocks[k]);
  }
  for (long i = 0; i < g_large; ++i) drop(large_block());
  return NULL;
}

int main(int count, char** words) {
  if (count > 2) g_small = atol(words[1]), g_large = atol(words[2]);
  for (int i = 0; i < 2; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL) != 0) return 1;
    pthread_join(thread, NULL);
  }
  puts("ready");
  fflush(stdout);
  char text[100];
  while (read(0, text, sizeof text) < 0 && errno == EINTR) {
  }
  return check_done();
}
