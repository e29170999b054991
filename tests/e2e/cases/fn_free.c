// SPDX-License-Identifier: Apache-2.0
// free: NULL, errno is kept, in any order, from another thread.
// BACKENDS: all
#include <pthread.h>
#include "check.h"

static void* g_blocks[4000];

static void* free_half(void* unused) {
  for (int i = 0; i < 4000; i += 2) free(g_blocks[i]);
  return unused;
}

int main(void) {
  errno = 23;
  free(NULL);
  CHECK(errno == 23, "free(NULL) set errno to %d", errno);
  for (int i = 0; i < kSizeCount; i++) {
    void* block = malloc(kSizes[i]);
    fill(block, kSizes[i], 1);
    errno = 24;
    free(block);
    CHECK(errno == 24, "free of %zu bytes set errno to %d", kSizes[i], errno);
  }
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 4000; i++) {
      g_blocks[i] = malloc(kSizes[i % 60]);
      fill(g_blocks[i], kSizes[i % 60], (unsigned)i);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, free_half, NULL);
    for (int i = 3999; i > 0; i -= 2) {
      CHECK(holds(g_blocks[i], kSizes[i % 60], (unsigned)i), "block %d", i);
      free(g_blocks[i]);
    }
    pthread_join(thread, NULL);
  }
  return check_done();
}
