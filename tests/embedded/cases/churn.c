// SPDX-License-Identifier: Apache-2.0
// An executable with a malloc of its own that works until SIGTERM: threads that hand each other blocks, threads that
// come and go, one that waits, and a signal every millisecond, whose handler interrupts malloc too. Each block is
// checked. main prints how much was done, and how much of it was wrong.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define VISIBLE __attribute__((visibility("default"), noinline, noclone))
#define MARK 0x6d61726bu

// Powers of two, each with a list of free blocks.
struct header {
  uint32_t mark, group;
  uint64_t size;
};
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node {
  struct node* next;
}* g_free[32];
static char *g_at, *g_end;
static long g_bad;

static struct header* header_of(void* block) {
  struct header* h = (struct header*)block - 1;
  if (h->mark != MARK || h->group >= 32) abort();
  return h;
}
VISIBLE void* malloc(size_t size) {
  uint32_t group = 5;
  while (((size_t)1 << group) < size + sizeof(struct header)) ++group;
  if (group >= 32) return NULL;
  pthread_mutex_lock(&g_lock);
  char* at = (char*)g_free[group];
  if (at) {
    g_free[group] = g_free[group]->next;
  } else {
    const size_t room = (size_t)1 << group;
    if (!g_at || (size_t)(g_end - g_at) < room) {
      const size_t chunk = room > (8 << 20) ? room : 8 << 20;
      g_at = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      g_end = g_at + chunk;
    }
    at = g_at;
    g_at += room;
  }
  pthread_mutex_unlock(&g_lock);
  *(struct header*)at = (struct header){MARK, group, size};
  return at + sizeof(struct header);
}
VISIBLE void free(void* block) {
  if (!block) return;
  struct header* h = header_of(block);
  const uint32_t group = h->group;
  h->mark = 0;
  pthread_mutex_lock(&g_lock);
  ((struct node*)h)->next = g_free[group];
  g_free[group] = (struct node*)h;
  pthread_mutex_unlock(&g_lock);
}
VISIBLE void* calloc(size_t count, size_t size) {
  void* block = malloc(count * size);
  return block ? memset(block, 0, count * size) : NULL;
}
VISIBLE void* realloc(void* old, size_t size) {
  void* block = malloc(size);
  if (block && old) {
    const size_t had = header_of(old)->size;
    memcpy(block, old, had < size ? had : size);
    free(old);
  }
  return block;
}
VISIBLE void* memalign(size_t alignment, size_t size) { return alignment > 16 ? NULL : malloc(size); }
VISIBLE int posix_memalign(void** to, size_t alignment, size_t size) { return (*to = memalign(alignment, size)) ? 0 : 12; }
VISIBLE size_t malloc_usable_size(void* block) { return block ? header_of(block)->size : 0; }

static volatile sig_atomic_t g_stop, g_signals;
static void on_term(int s) { (void)s, g_stop = 1; }
static void on_timer(int s) { (void)s, g_signals++; }

enum { kShared = 512 };
static unsigned char* g_shared[kShared];

static void check(unsigned char* block) {
  if (!block) return;
  const size_t size = malloc_usable_size(block);
  if (block[0] != (unsigned char)size || block[size - 1] != (unsigned char)size) __sync_fetch_and_add(&g_bad, 1);
}
static void fill(unsigned char* block, size_t size) { block[0] = block[size - 1] = (unsigned char)size; }

static long g_rounds;
static void* work(void* seed) {
  unsigned x = (unsigned)(uintptr_t)seed;
  while (!g_stop) {
    x = x * 1103515245u + 12345u;
    const size_t size = (x >> 8) % 3000 + 1;
    unsigned char* block = x & 1 ? malloc(size) : calloc(1, size);
    fill(block, size);
    if (x & 6) {
      block = realloc(block, size + 100);
      if (block[0] != (unsigned char)size || block[size - 1] != (unsigned char)size) __sync_fetch_and_add(&g_bad, 1);
      fill(block, size + 100);
    }
    block = __atomic_exchange_n(&g_shared[x % kShared], block, __ATOMIC_ACQ_REL);
    check(block);
    free(block);
    __sync_fetch_and_add(&g_rounds, 1);
  }
  return NULL;
}
static void* brief(void* p) {
  unsigned char* block = malloc(300);
  fill(block, 300);
  check(block);
  free(block);
  return p;
}
static void* spawn(void* p) {
  while (!g_stop) {
    pthread_t t;
    if (pthread_create(&t, NULL, brief, NULL) == 0) pthread_join(t, NULL);
  }
  return p;
}
static void* wait_and_work(void* p) {
  while (!g_stop) {
    poll(NULL, 0, 3);
    brief(NULL);
  }
  return p;
}

int main(int argc, char** argv) {
  enum { kMost = 16 };
  pthread_t t[kMost + 2];
  const int workers = argc > 1 ? atoi(argv[1]) : 4;
  signal(SIGTERM, on_term);
  signal(SIGALRM, on_timer);
  for (long i = 0; i < workers && i < kMost; i++) pthread_create(&t[i], NULL, work, (void*)(i + 1));
  pthread_create(&t[workers], NULL, spawn, NULL);
  pthread_create(&t[workers + 1], NULL, wait_and_work, NULL);
  const struct itimerval every = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &every, NULL);
  puts("up");
  fflush(stdout);
  while (!g_stop) usleep(10000);
  for (int i = 0; i < workers + 2; i++) pthread_join(t[i], NULL);
  printf("rounds %ld bad %ld signals %ld\n", g_rounds, g_bad, (long)g_signals);
  return g_bad != 0;
}
