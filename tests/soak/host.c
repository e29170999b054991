// SPDX-License-Identifier: Apache-2.0
// A host of scripts/soak: a few threads that allocate, move and free each other's blocks, threads and children that come
// and go, streams, mappings, libraries that are loaded and unloaded; at a tenth of a processor. SIGUSR1: everything is
// freed, and it rests. SIGTERM: it ends, with status 0 if no block had lost its contents.
// usage: host
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kThreads = 3, kSlots = 6000 };
static _Atomic(unsigned char*) g_slots[kSlots];
static atomic_int g_rests, g_damaged;

static void pause_ms(long ms) {
  struct timespec t = {0, ms * 1000000};
  nanosleep(&t, NULL);
}

/// The first bytes hold the size; the last one its lowest byte.
static unsigned char* make(unsigned x) {
  const unsigned size = x % 61 == 0 ? 20000 + x % 200000 : 16 + x % 1500;
  unsigned char* p = x % 4 == 0 ? calloc(1, size) : malloc(size);
  if (!p) abort();
  memcpy(p, &size, sizeof size);
  p[size - 1] = (unsigned char)size;
  return p;
}

static void drop(unsigned char* p) {
  unsigned size;
  if (!p) return;
  memcpy(&size, p, sizeof size);
  if (size < 16 || size > 220000 || p[size - 1] != (unsigned char)size) g_damaged++;
  free(p);
}

static void* work(void* seed) {
  unsigned x = (unsigned)(size_t)seed;
  while (!g_rests) {
    for (int i = 0; i < 400; i++) {
      x = x * 1103515245 + 12345;
      drop(atomic_exchange(&g_slots[(x >> 8) % kSlots], make(x >> 7)));
    }
    pause_ms(10);
  }
  return NULL;
}

static void* come_and_go(void* seed) {
  for (unsigned i = 0; i < 50; i++) drop(make((unsigned)(size_t)seed * 31 + i));
  return NULL;
}

static void odd_jobs(size_t round) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, come_and_go, (void*)round) == 0) pthread_join(thread, NULL);
  if (round % 4 == 0) {
    const pid_t child = fork();
    if (child == 0) {
      come_and_go((void*)round);
      _exit(g_damaged != 0);
    }
    int status = 1;
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0)) g_damaged++;
  }
  if (round % 8 == 1) {
    void* library = dlopen("libutil.so.1", RTLD_NOW);
    if (library) dlclose(library);
  }
  if (round % 8 == 3) {
    FILE* stream = fopen("/proc/self/status", "r");
    char* line = NULL;
    size_t bytes = 0;
    while (stream && getline(&line, &bytes, stream) > 0) {}
    free(line);
    if (stream) fclose(stream);
  }
  void* p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p != MAP_FAILED) {
    memset(p, 1, 1 << 16);
    munmap(p, 1 << 20);
  }
}

int main(void) {
  sigset_t told;
  sigemptyset(&told);
  sigaddset(&told, SIGUSR1);
  sigaddset(&told, SIGTERM);
  sigprocmask(SIG_BLOCK, &told, NULL);
  pthread_t threads[kThreads];
  for (size_t i = 0; i < kThreads; i++) pthread_create(&threads[i], NULL, work, (void*)(i + 1));
  const struct timespec tick = {0, 40000000};
  int signal;
  size_t round = 0;
  while ((signal = sigtimedwait(&told, NULL, &tick)) < 0) odd_jobs(++round);
  g_rests = 1;
  for (size_t i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  for (size_t i = 0; i < kSlots; i++) drop(atomic_exchange(&g_slots[i], NULL));
  puts("rests");
  fflush(stdout);
  while (signal != SIGTERM) signal = sigtimedwait(&told, NULL, NULL) == SIGTERM ? SIGTERM : SIGUSR1;
  return g_damaged != 0;
}
