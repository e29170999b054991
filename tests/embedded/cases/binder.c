// SPDX-License-Identifier: Apache-2.0
// A shared object that allocates megabytes by malloc, in blocks of -DBLOCK bytes. -DOWN: it defines malloc itself, by bump allocation.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef BLOCK
#define BLOCK (64 << 10)
#endif

#ifdef OWN
static char* g_at;
static size_t g_left;
void* malloc(size_t bytes) {
  bytes = (bytes + 15) & ~(size_t)15;
  if (bytes > g_left) {
    g_left = bytes > (4 << 20) ? bytes : 4 << 20;
    g_at = mmap(NULL, g_left, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  void* p = g_at;
  g_at += bytes;
  g_left -= bytes;
  return p;
}
#endif

static void* volatile g_kept;

int use_allocator(int megabytes) {
  for (long i = 0; i < ((long)megabytes << 20) / BLOCK; i++) {
    void** p = malloc(BLOCK);
    if (!p) return 1;
    memset(p, 1, BLOCK);
    *p = g_kept;
    g_kept = p;
  }
  return 0;
}
