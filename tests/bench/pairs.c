/* SPDX-License-Identifier: Apache-2.0 */
/* The micro workloads of scripts/bench.

       pairs WORKLOAD OPERATIONS REPETITIONS

   runs WORKLOAD with OPERATIONS malloc/free pairs (or steps of realloc), REPETITIONS times, and prints the
   nanoseconds per operation of the fastest repetition. Every block is touched and hidden from the compiler,
   so that no pair can be optimised away. Random numbers are seeded: all subjects do the same work. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern void* _Znwm(size_t);  /* operator new(std::size_t) */
extern void _ZdlPv(void*);   /* operator delete(void*) */

/* The compiler must assume that the block is read and written here. */
static inline void* hidden(void* p) {
  __asm__ volatile("" : "+r"(p) : : "memory");
  return p;
}

static inline void* touched(void* p) {
  *(volatile char*)p = 1;
  return hidden(p);
}

static uint64_t g_random = 88172645463325252u;

/* xorshift64 (Marsaglia 2003) */
static inline uint64_t next_random(void) {
  g_random ^= g_random << 13;
  g_random ^= g_random >> 7;
  g_random ^= g_random << 17;
  return g_random;
}

static inline size_t random_size(uint64_t r) { return 16 + (r >> 32) % 497; /* 16 to 512 */ }

/* ---- the workloads: each does `n` operations -------------------------------------------------------------- */

static void pair(long n) {
  for (long i = 0; i < n; ++i) free(touched(malloc(64)));
}

static void new_delete(long n) {
  for (long i = 0; i < n; ++i) _ZdlPv(touched(_Znwm(64)));
}

/* 64 live blocks; the oldest goes first. */
static void rotate(long n) {
  static void* live[64];
  for (long i = 0; i < n; ++i) {
    free(live[i % 64]);
    live[i % 64] = touched(malloc(random_size(next_random())));
  }
}

/* 100,000 live blocks, a random one of which is replaced each time. */
static void working_set(long n) {
  enum { kLive = 100000 };
  static void* live[kLive];
  for (long i = 0; i < n; ++i) {
    const uint64_t r = next_random();
    void** slot = &live[(uint32_t)r % kLive];
    free(*slot);
    *slot = touched(malloc(random_size(r)));
  }
}

/* A buffer that grows from 16 bytes to 64 KiB by a half each step, then starts again. */
static void realloc_growth(long n) {
  char* buffer = NULL;
  size_t bytes = 16;
  for (long i = 0; i < n; ++i) {
    buffer = hidden(realloc(buffer, bytes));
    buffer[bytes - 1] = 1;
    bytes += bytes / 2;
    if (bytes > 65536) {
      free(buffer);
      buffer = NULL;
      bytes = 16;
    }
  }
  free(buffer);
}

/* One thread allocates, another frees, a batch at a time and two batches in turn. Semaphores instead of
   spinning, so that the count of instructions does not depend on who waits for whom. */
enum { kBatch = 512, kBatches = 2 };
static struct {
  void* blocks[kBatches][kBatch];
  sem_t full, empty;
  long batches;
} g_pipe;

static void* consume(void* unused) {
  for (long b = 0; b < g_pipe.batches; ++b) {
    sem_wait(&g_pipe.full);
    for (int i = 0; i < kBatch; ++i) free(g_pipe.blocks[b % kBatches][i]);
    sem_post(&g_pipe.empty);
  }
  return unused;
}

static void producer_consumer(long n) {
  pthread_t consumer;
  g_pipe.batches = n / kBatch;
  sem_init(&g_pipe.full, 0, 0);
  sem_init(&g_pipe.empty, 0, kBatches);
  if (pthread_create(&consumer, NULL, consume, NULL) != 0) exit(1);
  for (long b = 0; b < g_pipe.batches; ++b) {
    sem_wait(&g_pipe.empty);
    for (int i = 0; i < kBatch; ++i)
      g_pipe.blocks[b % kBatches][i] = touched(malloc(random_size(next_random())));
    sem_post(&g_pipe.full);
  }
  pthread_join(consumer, NULL);
}

/* Threads that live for 256 pairs each, one after the other. */
enum { kPairsPerThread = 256 };

static void* short_life(void* unused) {
  pair(kPairsPerThread);
  return unused;
}

static void thread_churn(long n) {
  for (long t = 0; t < n / kPairsPerThread; ++t) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, short_life, NULL) != 0) exit(1);
    pthread_join(thread, NULL);
  }
}

/* Pairs whose five innermost frames change from one to the next, below 20 that stay: what a recorder of whole
   stacks pays. Bit i of `path` chooses among two functions for frame i. */
#define LEVEL(i, next)                                                                          \
  __attribute__((noinline)) static void level##i##_left(unsigned path) {                        \
    next(path);                                                                                 \
    __asm__ volatile("" : : "r"(path) : "memory");                                              \
  }                                                                                             \
  __attribute__((noinline)) static void level##i##_right(unsigned path) {                       \
    next(path);                                                                                 \
    __asm__ volatile("" : : "r"(path), "i"(1) : "memory");                                      \
  }                                                                                             \
  static inline void level##i(unsigned path) {                                                  \
    if (path >> i & 1) level##i##_left(path);                                                   \
    else level##i##_right(path);                                                                \
  }

static inline void innermost(unsigned path) {
  (void)path;
  free(touched(malloc(64)));
}
LEVEL(0, innermost)
LEVEL(1, level0)
LEVEL(2, level1)
LEVEL(3, level2)
LEVEL(4, level3)

__attribute__((noinline)) static void descend(int depth, long n) {
  if (depth > 0) descend(depth - 1, n);
  else
    for (long i = 0; i < n; ++i) level4((unsigned)(next_random() >> 40) & 31);
  __asm__ volatile("" : : "r"(depth) : "memory"); /* no tail call */
}

static void deep_calls(long n) { descend(20, n); }

/* ---- the frame --------------------------------------------------------------------------------------------- */

static const struct {
  const char* name;
  void (*run)(long);
} kWorkloads[] = {
    {"pair", pair},
    {"rotate", rotate},
    {"working_set", working_set},
    {"realloc", realloc_growth},
    {"producer_consumer", producer_consumer},
    {"new_delete", new_delete},
    {"thread_churn", thread_churn},
    {"deep_calls", deep_calls},
};

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char** argv) {
  const long operations = argc == 4 ? atol(argv[2]) : 0;
  const long repetitions = argc == 4 ? atol(argv[3]) : 0;
  for (size_t w = 0; operations > 0 && w < sizeof kWorkloads / sizeof *kWorkloads; ++w) {
    if (strcmp(argv[1], kWorkloads[w].name) != 0) continue;
    double best = 0;
    for (long r = 0; r < repetitions; ++r) {
      const double begin = now_ns();
      kWorkloads[w].run(operations);
      const double ns = (now_ns() - begin) / (double)operations;
      if (r == 0 || ns < best) best = ns;
    }
    printf("%.4f\n", best);
    return 0;
  }
  fprintf(stderr, "usage: pairs pair|rotate|working_set|realloc|producer_consumer|new_delete|thread_churn|"
                  "deep_calls OPERATIONS REPETITIONS\n");
  return 2;
}
