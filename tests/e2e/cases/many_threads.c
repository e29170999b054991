// SPDX-License-Identifier: Apache-2.0
// 3000 short threads: each gets and leaves its state; blocks move from thread to thread.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=4096
#include <pthread.h>
#include "check.h"

static void* work(void* block) {
  free(block);
  void* blocks[30];
  for (int i = 0; i < 30; i++) blocks[i] = malloc((size_t)(i * 150));
  for (int i = 0; i < 30; i++) free(blocks[i]);
  void* handed_on = malloc(2000);
  fill(handed_on, 2000, 8);
  return handed_on;
}

int main(void) {
  void* block = malloc(10);
  for (int i = 0; i < 1500; i++) {
    pthread_t one, two;
    void* second = NULL;
    pthread_create(&one, NULL, work, block);
    pthread_create(&two, NULL, work, malloc(500));
    pthread_join(one, &block);
    pthread_join(two, &second);
    CHECK(holds(block, 2000, 8) && holds(second, 2000, 8), "blocks of round %d", i);
    free(second);
  }
  free(block);
  return check_done();
}
