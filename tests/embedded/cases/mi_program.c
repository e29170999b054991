// SPDX-License-Identifier: Apache-2.0
// A program that calls mimalloc by its own names. -DOWN_HEAP makes a heap of its own.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void* mi_malloc(size_t);
void* mi_zalloc(size_t);
void* mi_calloc(size_t, size_t);
void* mi_realloc(void*, size_t);
void* mi_rezalloc(void*, size_t);
void* mi_malloc_aligned(size_t, size_t);
void* mi_zalloc_aligned(size_t, size_t);
void* mi_realloc_aligned(void*, size_t, size_t);
void* mi_expand(void*, size_t);
char* mi_strdup(const char*);
size_t mi_usable_size(const void*);
size_t mi_good_size(size_t);
int mi_reallocarr(void*, size_t, size_t);
void mi_free(void*);
void mi_free_size(void*, size_t);
typedef struct mi_heap_s mi_heap_t;
mi_heap_t* mi_heap_new(void);
void mi_heap_destroy(mi_heap_t*);
void* mi_heap_malloc(mi_heap_t*, size_t);
void mi_process_info(size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*, size_t*);

#define REQUIRE(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      return 1; \
    } \
  } while (0)

static bool is_zero(const char* p, size_t from, size_t to) {
  for (; from < to; from++)
    if (p[from]) return false;
  return true;
}

int main(void) {
  for (int i = 0; i < 2000; i++) {
    size_t n = (size_t)i * 7 % 4000 + 1;
    char* p = mi_malloc(n);
    REQUIRE(mi_usable_size(p) >= n && mi_good_size(n) >= n && mi_usable_size(p) >= mi_good_size(n));
    memset(p, 1, n);
    p = mi_realloc(p, 2 * n);
    REQUIRE(p[n - 1] == 1);
    REQUIRE(mi_expand(p, 1) == p);
    p = mi_realloc(p, 0);
    REQUIRE(p != NULL);
    mi_free(p);
    p = mi_zalloc(n);
    REQUIRE(is_zero(p, 0, n));
    p = mi_rezalloc(p, 3 * n);
    REQUIRE(is_zero(p, 0, 3 * n));
    mi_free_size(p, 3 * n);
    p = mi_calloc(n, 3);
    REQUIRE(is_zero(p, 0, 3 * n));
    REQUIRE(mi_reallocarr(&p, n, 5) == 0 && is_zero(p, 0, 3 * n));
    mi_free(p);
    p = mi_malloc_aligned(n, 1024);
    REQUIRE((uintptr_t)p % 1024 == 0);
    memset(p, 3, n);
    p = mi_realloc_aligned(p, n + 5000, 2048);
    REQUIRE((uintptr_t)p % 2048 == 0 && p[n - 1] == 3);
    mi_free(p);
    p = mi_zalloc_aligned(n, 64);
    REQUIRE((uintptr_t)p % 64 == 0 && is_zero(p, 0, n));
    mi_free(p);
    p = mi_strdup("text");
    REQUIRE(strcmp(p, "text") == 0);
    mi_free(p);
  }
  REQUIRE(mi_calloc(SIZE_MAX / 2, 3) == NULL);
#ifdef OWN_HEAP
  mi_heap_t* heap = mi_heap_new();
  REQUIRE(mi_heap_malloc(heap, 100) != NULL);
  mi_heap_destroy(heap);
#endif
  puts("ok");
  return 0;
}
