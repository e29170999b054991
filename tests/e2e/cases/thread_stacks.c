// SPDX-License-Identifier: Apache-2.0
// Threads on stacks of libc's and of the program's own, each of which allocates on a coroutine's stack as well.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=1
#include <pthread.h>
#include <ucontext.h>
#include "check.h"

enum { kThreads = 64, kStackBytes = 256 << 10 };
static char g_stacks[kThreads][kStackBytes] __attribute__((aligned(4096)));

static void allocate(void) { free(opaque_pointer(malloc(opaque(100)))); }

static void* work(void* coroutine_stack) {
  ucontext_t here, there;
  CHECK(getcontext(&there) == 0, "getcontext");
  there.uc_stack.ss_sp = coroutine_stack;
  there.uc_stack.ss_size = kStackBytes;
  there.uc_link = &here;
  makecontext(&there, allocate, 0);
  CHECK(swapcontext(&here, &there) == 0, "swapcontext");
  allocate();
  return NULL;
}

int main(void) {
  char* coroutine_stack = malloc(kStackBytes);
  allocate();
  for (int i = 0; i < kThreads; i++) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (i % 2) CHECK(pthread_attr_setstack(&attributes, g_stacks[i], kStackBytes) == 0, "stack %d", i);
    CHECK(pthread_create(&thread, &attributes, work, coroutine_stack) == 0, "thread %d", i);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
  }
  free(coroutine_stack);
  return check_done();
}
