// SPDX-License-Identifier: Apache-2.0
// Threads are cancelled while they allocate; their cleanup handlers allocate and free, too.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=4096
#include <pthread.h>
#include "reports.h"

static int g_cleanups;

static void clean(void* block) {
  free(block);
  free(calloc(10, 1000));
  __atomic_add_fetch(&g_cleanups, 1, __ATOMIC_RELAXED);
}

static void* allocate_for_ever(void* unused) {
  void* held = malloc(12345);
  pthread_cleanup_push(clean, held);
  for (;;) {
    void* blocks[20];
    for (int i = 0; i < 20; i++) blocks[i] = malloc((size_t)(i * 200 + 1));
    for (int i = 0; i < 20; i++) free(blocks[i]);
    pthread_testcancel();
  }
  pthread_cleanup_pop(1);
  return unused;
}

static void* block_for_ever(void* unused) {
  pthread_cleanup_push(clean, malloc(99));
  for (;;) pause_ms(100000);
  pthread_cleanup_pop(1);
  return unused;
}

static void* leave(void* unused) {
  pthread_cleanup_push(clean, malloc(5000));
  free(malloc(10));
  pthread_exit(unused);
  pthread_cleanup_pop(1);
  return unused;
}

int main(void) {
  for (int round = 0; round < 40; round++) {
    pthread_t threads[6];
    void* (*const bodies[3])(void*) = {allocate_for_ever, block_for_ever, leave};
    for (int i = 0; i < 6; i++) pthread_create(&threads[i], NULL, bodies[i % 3], NULL);
    pause_ms(3);
    for (int i = 0; i < 6; i++) {
      if (i % 3 != 2) pthread_cancel(threads[i]);
      void* result = NULL;
      pthread_join(threads[i], &result);
      CHECK(i % 3 == 2 || result == PTHREAD_CANCELED, "thread %d was not cancelled", i);
    }
  }
  CHECK(g_cleanups == 240, "%d cleanup handlers ran instead of 240", g_cleanups);
  return check_done();
}
