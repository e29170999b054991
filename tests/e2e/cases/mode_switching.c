// SPDX-License-Identifier: Apache-2.0
// Threads allocate, move and free each other's blocks while the mode is switched hundreds of times, as
// `mallard mode` does. The last switches come when all is quiet: after them the books must hold what is
// allocated in the function known(), no more and no less (test_exact.py compares).
// usage: mode_switching LIBRARY OFFSET_OF_SWITCH_MODE SWITCHES LAST_MODE
// LAST_MODE: 0 sample (from off), 2 exact (from off), 12 exact (from sample)
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { kSample, kOff, kExact };  // base/options.hpp
enum { kThreads = 4, kSlots = 512, kKnown = 1000 };

struct block {
  size_t size;
  unsigned seed;
};
static _Atomic(struct block*) g_slots[kSlots];  // whoever takes a block out owns it
static atomic_bool g_stop;
static atomic_long g_operations, g_damaged;

static struct block* marked(void* p, size_t size) {
  struct block* b = (struct block*)p;
  b->size = size;
  b->seed = (unsigned)(size ^ (uintptr_t)p >> 4);
  fill(b + 1, size - sizeof *b, b->seed);
  return b;
}

static bool is_whole(const struct block* b) { return holds(b + 1, b->size - sizeof *b, b->seed); }

static void* work(void* number) {
  uint64_t state = 88172645463325252u + (uintptr_t)number;
  while (!atomic_load_explicit(&g_stop, memory_order_relaxed)) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const size_t size = sizeof(struct block) + state % (state % 64 == 0 ? 60000 : 300);
    struct block* mine = atomic_exchange(&g_slots[state / 64 % kSlots], NULL);
    if (mine && !is_whole(mine)) atomic_fetch_add(&g_damaged, 1);
    void* p = NULL;
    switch (state / 1024 % 8) {
      case 0: p = malloc(size); break;
      case 1: p = calloc(1, size); break;
      case 2:
        if (posix_memalign(&p, 64, size) != 0) p = NULL;
        break;
      case 3: p = memalign(256, size); break;
      case 4:
        if (mine) {
          const size_t old = mine->size < size ? mine->size : size;
          const unsigned seed = mine->seed;
          struct block* moved = (struct block*)realloc(mine, size);
          if (!holds(moved + 1, old - sizeof *moved, seed)) atomic_fetch_add(&g_damaged, 1);
          p = moved, mine = NULL;
        }
        break;
      case 5: p = reallocarray(NULL, size, 1); break;
      default: break;
    }
    free(mine);
    if (p) free(atomic_exchange(&g_slots[state / 8192 % kSlots], marked(p, size)));
    atomic_fetch_add_explicit(&g_operations, 1, memory_order_relaxed);
  }
  return NULL;
}

__attribute__((noinline, noclone)) void* known(size_t size) {
  void* p = malloc(size);
  __asm__ volatile("" : "+r"(p) : : "memory");
  return p;
}

typedef bool (*switch_mode)(unsigned char mode, const char** why_not);
static switch_mode g_switch;

static void switch_to(int mode) {
  const char* why_not = NULL;
  CHECK(g_switch((unsigned char)mode, &why_not), "mode %d: %s", mode, why_not ? why_not : "?");
}

int main(int count, char** words) {
  CHECK(count == 5, "usage");
  void* library = dlopen(words[1], RTLD_NOW | RTLD_NOLOAD);
  CHECK(library, "%s is not loaded", words[1]);
  if (check_failures) return check_done();
  g_switch = (switch_mode)(((struct link_map*)library)->l_addr + strtoull(words[2], NULL, 0));
  const int switches = atoi(words[3]), last = atoi(words[4]);
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; i++) pthread_create(&threads[i], NULL, work, (void*)i);
  unsigned random = 12345;
  int forks = 0;
  for (int i = 0; i < switches; i++) {
    random = random * 1103515245 + 12345;
    switch_to((int)(random >> 16) % 3);
    if (random >> 20 & 1) usleep(random >> 16 & 255);
    if (i % 50 == 49) {  // a child goes on in the mode of the moment, and can switch on its own
      const pid_t child = fork();
      if (child == 0) {
        for (int k = 0; k < 200; k++) free(malloc((size_t)k * 7));
        switch_to(i % 3);
        for (int k = 0; k < 200; k++) free(malloc((size_t)k * 7));
        _exit(check_failures ? 1 : 0);
      }
      int status = -1;
      CHECK(waitpid(child, &status, 0) == child && status == 0, "child: status %x", status);
      forks++;
    }
  }
  atomic_store(&g_stop, true);
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  switch_to(kOff);
  void* blocks[2 * kKnown];
  for (int i = 0; i < kKnown; i++) blocks[i] = known(50);  // nobody sees these
  if (last >= 10) switch_to(kSample);
  switch_to(last % 10);
  for (int i = kKnown; i < 2 * kKnown; i++) blocks[i] = known(100);
  for (int i = 0; i < 2 * kKnown; i += 4) free(blocks[i]);  // half of each
  for (int i = 2; i < 2 * kKnown; i += 4) free(blocks[i]);
  for (int i = 0; i < kSlots; i++) free(g_slots[i]);
  CHECK(g_damaged == 0, "%ld blocks damaged", (long)g_damaged);
  CHECK(g_operations > 1000, "%ld operations", (long)g_operations);
  fprintf(stderr, "note: %d switches, %d forks, %ld operations\n", switches, forks, (long)g_operations);
  return check_done();
}
