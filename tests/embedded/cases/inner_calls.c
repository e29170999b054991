// SPDX-License-Identifier: Apache-2.0
// A program whose executable defines the malloc family, with functions that call each other: realloc asks malloc and
// free, calloc ends in a jump to malloc, memalign goes by way of a helper. Each site keeps books of its own, which
// main prints. Option: -DOLD_STYLE is a free that jumps back to its own beginning.
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define VISIBLE __attribute__((visibility("default"), noinline, noclone))
#define SITE __attribute__((noinline, noclone))

struct header {
  size_t size;
  void* mark;
};
static char g_memory[64 << 20];
static size_t g_used;
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;

VISIBLE void* malloc(size_t size) {
  if (size > sizeof g_memory) {
    errno = ENOMEM;
    return NULL;
  }
  pthread_mutex_lock(&g_lock);
  const size_t room = (sizeof(struct header) + size + 15) & ~(size_t)15;
  char* at = g_used + room <= sizeof g_memory ? g_memory + g_used : NULL;
  if (at) g_used += room;
  pthread_mutex_unlock(&g_lock);
  if (!at) return NULL;
  *(struct header*)at = (struct header){size, g_memory};
  return at + sizeof(struct header);
}
#ifdef OLD_STYLE
void free(void* block);
__asm__(
    ".globl free\n.type free, @function\n"
    "free: test %rdi, %rdi\n"
    "1: je 2f\n"
    "mov $0, %eax\n xor %edi, %edi\n test %eax, %eax\n jmp 1b\n"
    "2: ret\n.size free, . - free\n");
#else
VISIBLE void free(void* block) {
  if (!block) return;
  struct header* h = (struct header*)((char*)block - sizeof *h);
  if (h->mark != g_memory) abort();
  h->mark = NULL;
}
#endif
// g_memory is zero, and no block is given out twice.
VISIBLE void* calloc(size_t count, size_t size) { return malloc(count * size); }
__attribute__((noinline)) static void* with_room(size_t alignment, size_t size) {
  char* p = malloc(size + alignment + sizeof(struct header));
  char* q = (char*)(((uintptr_t)p + sizeof(struct header) + alignment - 1) & ~(alignment - 1));
  ((struct header*)q)[-1] = (struct header){size, g_memory};
  return q;
}
VISIBLE void* memalign(size_t alignment, size_t size) { return with_room(alignment, size); }
VISIBLE void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
VISIBLE int posix_memalign(void** to, size_t alignment, size_t size) {
  void* p = memalign(alignment, size);
  if (!p) return ENOMEM;
  *to = p;
  return 0;
}
VISIBLE void* realloc(void* old, size_t size) {
  if (old && size == 0) {
    free(old);
    return NULL;
  }
  void* block = malloc(size);
  if (!block || !old) return block;
  const size_t had = ((struct header*)old)[-1].size;
  memcpy(block, old, had < size ? had : size);
  free(old);
  return block;
}
VISIBLE void* reallocarray(void* old, size_t count, size_t size) { return realloc(old, count * size); }
VISIBLE size_t malloc_usable_size(void* block) { return block ? ((struct header*)block)[-1].size : 0; }

struct books {
  const char* site;
  unsigned long live, live_bytes, made, made_bytes;
};
enum { kSites = 8, kEach = 300, kKept = 100 };
static struct books g_books[kSites];
static void* g_kept[kSites][kEach];

static void booked(int site, const char* name, int i, void* p, size_t bytes) {
  struct books* b = &g_books[site];
  b->site = name;
  b->made++, b->made_bytes += bytes;
  b->live++, b->live_bytes += bytes;
  g_kept[site][i] = p;
}
static void unbooked(int site, size_t bytes) {
  g_books[site].live--, g_books[site].live_bytes -= bytes;
}
#define BLOCK(site, i, bytes, call) booked(site, __func__, i, call, bytes)

SITE static void by_malloc(void) {
  for (int i = 0; i < kEach; i++) BLOCK(0, i, 100 + i, malloc(100 + i));
}
SITE static void by_calloc(void) {
  for (int i = 0; i < kEach; i++) BLOCK(1, i, 3 * (size_t)(i + 7), calloc(3, i + 7));
}
SITE static void by_realloc(void) {
  for (int i = 0; i < kEach; i++) {
    void* p = realloc(g_kept[2][i], 50 + i);
    BLOCK(2, i, 50 + i, p);
    if (realloc(p, sizeof g_memory + 1)) abort();  // fails, and the block stays
    unbooked(2, 50 + i);
    BLOCK(2, i, 500 + i, realloc(p, 500 + i));
  }
}
SITE static void by_reallocarray(void) {
  for (int i = 0; i < kEach; i++) BLOCK(3, i, 5 * (size_t)(i + 1), reallocarray(NULL, i + 1, 5));
}
SITE static void by_memalign(void) {
  for (int i = 0; i < kEach; i++) BLOCK(4, i, 200 + i, memalign(64, 200 + i));
}
SITE static void by_aligned_alloc(void) {
  for (int i = 0; i < kEach; i++) BLOCK(5, i, 128, aligned_alloc(128, 128));
}
SITE static void by_posix_memalign(void) {
  for (int i = 0; i < kEach; i++) {
    void* p = NULL;
    if (posix_memalign(&p, 32, 40 + i)) abort();
    BLOCK(6, i, 40 + i, p);
  }
}
/// The blocks come from libc, which calls the program's malloc.
SITE static void by_strdup(void) {
  for (int i = 0; i < kEach; i++) BLOCK(7, i, sizeof "libc allocates this", strdup("libc allocates this"));
}

SITE static void free_most(void) {
  for (int site = 0; site < kSites; site++)
    for (int i = kKept; i < kEach; i++) {
      unbooked(site, malloc_usable_size(g_kept[site][i]));
      if (site == 2) g_kept[site][i] = realloc(g_kept[site][i], 0);
      else free(g_kept[site][i]);
    }
}

int main(int argc, char** argv) {
  (void)argv;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (argc > 2) {  // until somebody looks on
    puts("waiting");
    if (getchar() == EOF) return 2;
  }
  by_malloc();
  by_calloc();
  by_realloc();
  by_reallocarray();
  by_memalign();
  by_aligned_alloc();
  by_posix_memalign();
  by_strdup();
  free_most();
  for (int i = 0; i < kSites; i++)
    printf("%s %lu %lu %lu %lu\n", g_books[i].site, g_books[i].live, g_books[i].live_bytes, g_books[i].made,
           g_books[i].made_bytes);
  if (argc > 1) {
    puts("ready");
    if (getchar() == EOF) return 2;
  }
  return 0;
}
