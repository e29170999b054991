// SPDX-License-Identifier: Apache-2.0
// Threads with the smallest stacks that exist allocate, with every allocation sampled: what mallard does in
// malloc must fit beside them.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=1
#include <limits.h>
#include <pthread.h>
#include "check.h"

static __attribute__((noinline)) void* deeper(int depth) {
  void* block = depth > 0 ? deeper(depth - 1) : malloc(100);
  __asm__ volatile("" : "+r"(block));
  return block;
}

static void* work(void* size) {
  for (int i = 0; i < 50; i++) free(deeper(i % 12));
  void* block = malloc((size_t)size);
  block = realloc(block, (size_t)size * 3);
  return block;
}

int main(void) {
  // 16 KiB is the least that pthread_attr_setstacksize takes; TLS of all libraries is in it, too.
  for (size_t stack = 20480; stack <= 65536; stack += 4096) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, stack) == 0, "stack of %zu bytes", stack);
    for (int i = 0; i < 20; i++) {
      pthread_t thread;
      void* block = NULL;
      CHECK(pthread_create(&thread, &attributes, work, (void*)(size_t)(i * 50 + 1)) == 0, "pthread_create");
      pthread_join(thread, &block);
      CHECK(block, "no block");
      free(block);
    }
    pthread_attr_destroy(&attributes);
  }
  return check_done();
}
