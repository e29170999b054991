// SPDX-License-Identifier: Apache-2.0
// A program whose executable defines the malloc family itself: a bump allocator that marks each block and
// ends the program if it is given one of somebody else's. main prints how many blocks it handed out: none,
// once it is taken over. Options: -DNO_FREE, -DINLINED, -DIFUNC, -DSHORT, and those of early.h.
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MARK 0x6d61726b6d61726bull
#ifdef INLINED
#define VISIBLE __attribute__((visibility("default"))) inline
#else
#define VISIBLE __attribute__((visibility("default"), noinline, noclone))
#endif

struct header {
  uint64_t mark;
  size_t size;
};

static char* g_at;
static char* g_end;
static _Atomic long g_blocks;
static int g_taken;

static struct header* header_of(void* block) {
  struct header* h = (struct header*)block - 1;
  if (h->mark != MARK) {
    static const char text[] = "own allocator: foreign block\n";
    if (write(2, text, sizeof text - 1) < 0) _exit(98);
    _exit(99);
  }
  return h;
}

__attribute__((noinline)) static void* take(size_t alignment, size_t size) {
  while (__atomic_exchange_n(&g_taken, 1, __ATOMIC_ACQUIRE)) usleep(1);
  g_blocks++;
  size_t room = size + alignment + sizeof(struct header) + 16;
  if (!g_at || (size_t)(g_end - g_at) < room) {
    size_t chunk = room > (4 << 20) ? room : 4 << 20;
    g_at = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_end = g_at + chunk;
  }
  uintptr_t block = ((uintptr_t)g_at + sizeof(struct header) + alignment - 1) & ~(uintptr_t)(alignment - 1);
  ((struct header*)block)[-1] = (struct header){MARK, size};
  g_at = (char*)((block + size + 15) & ~(uintptr_t)15);
  __atomic_store_n(&g_taken, 0, __ATOMIC_RELEASE);
  return (void*)block;
}

VISIBLE void* malloc(size_t size) { return take(16, size); }
#ifdef SHORT
// Two bytes, and its neighbour right behind it.
__asm__(
    ".globl free, cfree\n.type free, @function\n.type cfree, @function\n"
    "free: jmp mark_free\n.size free, . - free\n"
    "cfree: jmp mark_free\n.size cfree, . - cfree\n"
    "mark_free: mov $1, %eax\nret\n");
void free(void* block);
#elif !defined(NO_FREE)
VISIBLE void free(void* block) {
  if (block) header_of(block)->size = 0;
}
#endif
VISIBLE void* calloc(size_t count, size_t size) { return take(16, count * size); }
VISIBLE void* realloc(void* old, size_t size) {
  void* block = take(16, size);
  if (old) memcpy(block, old, header_of(old)->size < size ? header_of(old)->size : size);
  return block;
}
#ifdef IFUNC
static void* one_memalign(size_t alignment, size_t size) { return take(alignment, size); }
static void* (*choose_memalign(void))(size_t, size_t) { return one_memalign; }
VISIBLE void* memalign(size_t alignment, size_t size) __attribute__((ifunc("choose_memalign")));
#else
VISIBLE void* memalign(size_t alignment, size_t size) { return take(alignment, size); }
#endif
VISIBLE void* aligned_alloc(size_t alignment, size_t size) { return take(alignment, size); }
VISIBLE int posix_memalign(void** to, size_t alignment, size_t size) {
  *to = take(alignment, size);
  return 0;
}
VISIBLE size_t malloc_usable_size(void* block) { return block ? header_of(block)->size : 0; }

#if defined(EARLY_USER) || defined(EARLY_THREAD) || defined(EARLY_CHANGE) || defined(EARLY_FULL)
#include "early.h"
#else
static int early_answer(void) { return 42; }
#endif

static void* work(void* seed) {
  enum { kBlocks = 500 };
  unsigned char* blocks[kBlocks];
  size_t sizes[kBlocks];
  unsigned long x = (unsigned long)seed * 2654435761u + 1, sum = 0;
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < kBlocks; i++) {
      x = x * 6364136223846793005ul + 1442695040888963407ul;
      sizes[i] = (x >> 33) % 3000 + 1;
      if (i % 5 == 1) blocks[i] = aligned_alloc(64, (sizes[i] + 63) & ~63ul);
      else if (i % 5 == 2) blocks[i] = calloc(1, sizes[i]);
      else blocks[i] = malloc(sizes[i]);
      if (i % 5 == 1 && ((uintptr_t)blocks[i] & 63)) abort();
      if (i % 5 == 2 && (blocks[i][0] || blocks[i][sizes[i] - 1])) abort();
      memset(blocks[i], (int)(i & 0xff), sizes[i]);
      if (i % 5 == 3) {
        blocks[i] = realloc(blocks[i], sizes[i] * 2);
        sizes[i] *= 2;
        memset(blocks[i] + sizes[i] / 2, (int)(i & 0xff), sizes[i] - sizes[i] / 2);
      }
    }
    for (int i = 0; i < kBlocks; i++) {
      for (size_t n = 0; n < sizes[i]; n++)
        if (blocks[i][n] != (unsigned char)i) abort();
      sum += sizes[i];
#ifndef NO_FREE
      free(blocks[i]);
#endif
    }
  }
  return (void*)sum;
}

int main(int argc, char** argv) {
  enum { kThreads = 4 };
  pthread_t threads[kThreads];
  unsigned long sum = (unsigned long)early_answer();
  for (long i = 0; i < kThreads; i++) pthread_create(&threads[i], NULL, work, (void*)(i + 1));
  for (int i = 0; i < kThreads; i++) {
    void* part;
    pthread_join(threads[i], &part);
    sum += (unsigned long)part;
  }
  char* copy = strdup("libc allocates this");
  sum += strlen(copy);
#ifndef NO_FREE
  free(copy);
#endif
  if (argc > 1) {  // blocks of a size of their own, for a report
    static char* kept[2000];
    for (int i = 0; i < 2000; i++) memset(kept[i] = malloc(4000), 1, 4000);
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF) return 2;
  }
  printf("sum %lu\n", sum);
  fprintf(stderr, "own blocks: %ld\n", (long)g_blocks);
  puts("ok");
  return argv[0] == NULL;
}
