// SPDX-License-Identifier: Apache-2.0
// A library with two allocators inside, as those of large Python extensions have: private names behind a prefix,
// one third of the megabytes from the first, two thirds from the second, one more from a function of neither.
// -DCOMPATIBLE: one allocator, which also offers the names of another one.
#define _GNU_SOURCE
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define APART __attribute__((noinline))
#define MAP(bytes) mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)

#ifdef COMPATIBLE
APART void* rpmalloc(size_t bytes) { return MAP(bytes); }
APART void* mallocx(size_t bytes, int flags) { return flags ? NULL : rpmalloc(bytes); }
static void* get(int i) { return i % 2 ? rpmalloc(1 << 20) : mallocx(1 << 20, 0); }
#else
static APART void* unix_mmap_prim(size_t bytes) { return MAP(bytes); }
APART void* mi_malloc(size_t bytes) { return unix_mmap_prim(bytes); }
static APART void* je_own_private_je_pages_map(size_t bytes) { return MAP(bytes); }
APART void* je_own_private_je_arena_malloc(size_t bytes) { return je_own_private_je_pages_map(bytes); }
static APART void* map_table(size_t bytes) { return MAP(bytes); }
static void* get(int i) { return i % 3 ? je_own_private_je_arena_malloc(1 << 20) : mi_malloc(1 << 20); }
#endif

int use_allocator(int megabytes) {
  for (int i = 0; i < megabytes; i++) {
    void* p = get(i);
    if (p == MAP_FAILED) return 1;
    memset(p, 1, 1 << 20);
  }
#ifndef COMPATIBLE
  void* table = map_table(1 << 20);
  if (table == MAP_FAILED) return 1;
  memset(table, 1, 1 << 20);
#endif
  return 0;
}
