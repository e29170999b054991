// SPDX-License-Identifier: Apache-2.0
// A backend with stalls of known lengths (a shared object, for test_latency.py): glibc's malloc, which waits
// SMALL_US in every fifth malloc of up to 128 bytes, LARGE_US in every fifth of more than 1 MiB, FREE_US in
// every fifth free.
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

extern void* __libc_malloc(size_t);
extern void __libc_free(void*);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000 + now.tv_nsec;
}

static void wait_us(const char* variable) {
  const char* value = getenv(variable);
  if (!value) return;
  const long until = now_ns() + atol(value) * 1000;
  while (now_ns() < until) {
  }
}

// Initial-exec: another thread-local variable of an object that is loaded later is allocated by malloc.
static _Thread_local unsigned g_small __attribute__((tls_model("initial-exec"))),
    g_large __attribute__((tls_model("initial-exec"))), g_freed __attribute__((tls_model("initial-exec")));

void* malloc(size_t bytes) {
  if (bytes <= 128 && ++g_small % 5 == 0) wait_us("SMALL_US");
  if (bytes > 1 << 20 && ++g_large % 5 == 0) wait_us("LARGE_US");
  return __libc_malloc(bytes);
}
void free(void* p) {
  if (p && ++g_freed % 5 == 0) wait_us("FREE_US");
  __libc_free(p);
}
void* calloc(size_t count, size_t size) { return __libc_calloc(count, size); }
void* realloc(void* p, size_t bytes) { return __libc_realloc(p, bytes); }
void* memalign(size_t alignment, size_t bytes) { return __libc_memalign(alignment, bytes); }
