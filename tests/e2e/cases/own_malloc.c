// SPDX-License-Identifier: Apache-2.0
// An executable that brings its own malloc family (test_children.py has the expectation).
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include "reports.h"

static char* g_at;
static char* g_end;
static long g_calls;

__attribute__((visibility("default"))) void* malloc(size_t size) {
  g_calls++;
  size_t whole = (size + 31) & ~(size_t)15;
  if (g_at == NULL || (size_t)(g_end - g_at) < whole) {
    size_t chunk = whole > (1 << 20) ? whole : 1 << 20;
    g_at = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_end = g_at + chunk;
  }
  *(size_t*)g_at = size;
  void* block = g_at + 16;
  g_at += whole;
  return block;
}
__attribute__((visibility("default"))) void free(void* block) { (void)block; }
__attribute__((visibility("default"))) void* calloc(size_t count, size_t size) { return malloc(count * size); }
__attribute__((visibility("default"))) void* realloc(void* old, size_t size) {
  void* block = malloc(size);
  if (old) memcpy(block, old, ((size_t*)old)[-2] < size ? ((size_t*)old)[-2] : size);
  return block;
}

int main(void) {
  char* line = NULL;
  size_t size = 0;
  puts("ready");
  fflush(stdout);
  CHECK(getline(&line, &size, stdin) > 0, "getline");
  free(line);
  char* copy = strdup("a string that libc allocates");
  CHECK(strcmp(copy, "a string that libc allocates") == 0, "strdup");
  CHECK(g_calls > 3, "libc called our malloc only %ld times", g_calls);
  return check_done();
}
