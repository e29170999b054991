// SPDX-License-Identifier: Apache-2.0
// Everything at once, with the contents of every block checked: threads that allocate, move and free each
// other's blocks, forks, dlopen and dlclose, reports. Ends with status 0 and "ok" if nothing was damaged.
// usage: torture [SECONDS]
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=256
// mimalloc 3 does not survive every fork of a process whose other threads allocate, with mallard or without.
// AGAIN: mimalloc3 [1-9]\d* of them bad, 0 damaged
// SECONDS: 60
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kThreads = 4, kSlots = 4096 };

struct block {
  uint64_t size, mark;
};
static _Atomic(struct block*) g_slots[kSlots];  // shared: whoever takes a block out owns it
static atomic_int g_stop, g_damaged;

static uint64_t next(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void fill(struct block* b, uint64_t size) {
  b->size = size;
  b->mark = (uintptr_t)b ^ size;
  memset(b + 1, (int)(size & 0xff), size - sizeof *b);
}

static void check(const struct block* b) {
  const unsigned char* bytes = (const unsigned char*)(b + 1);
  const uint64_t n = b->size - sizeof *b;
  if (b->mark != ((uintptr_t)b ^ b->size) ||
      (n > 0 && (bytes[0] != (b->size & 0xff) || bytes[n - 1] != (b->size & 0xff) ||
                 bytes[n / 2] != (b->size & 0xff))))
    atomic_fetch_add(&g_damaged, 1);
}

static struct block* make(uint64_t* random) {
  uint64_t size = sizeof(struct block) + (next(random) % 100 == 0 ? next(random) % 300000 : next(random) % 600);
  struct block* b = NULL;
  switch (next(random) % 6) {
    case 0: b = calloc(1, size); break;
    case 1: if (posix_memalign((void**)&b, 64, size) != 0) b = NULL; break;
    case 2: b = aligned_alloc(256, size); break;
    default: b = malloc(size);
  }
  if (!b || malloc_usable_size(b) < size) abort();
  fill(b, size);
  return b;
}

static void* work(void* argument) {
  uint64_t random = 0x9e3779b97f4a7c15u * (uint64_t)(uintptr_t)argument;
  while (!atomic_load(&g_stop)) {
    struct block* b = atomic_exchange(&g_slots[next(&random) % kSlots], NULL);
    if (!b) {
      b = make(&random);
    } else if (next(&random) % 3 == 0) {
      check(b);
      const uint64_t size = sizeof *b + next(&random) % 2000, mark = b->mark;
      const uint64_t kept = b->size < size ? b->size : size;
      b = realloc(b, size);
      if (!b) abort();
      if (b->mark != mark || (kept > sizeof *b && ((unsigned char*)b)[kept - 1] != (b->size & 0xff)))
        atomic_fetch_add(&g_damaged, 1);
      fill(b, size);
    } else {
      check(b);
      free(b);
      continue;
    }
    b = atomic_exchange(&g_slots[next(&random) % kSlots], b);
    if (b) {
      check(b);
      free(b);
    }
  }
  return NULL;
}

static void* load(void* library) {
  while (!atomic_load(&g_stop)) {
    void* handle = dlopen(library, RTLD_NOW);
    if (handle) dlclose(handle);
    usleep(2000);
  }
  return NULL;
}

static void* short_lived(void* unused) {
  (void)unused;
  for (int i = 0; i < 50; i++) free(malloc(100 + (size_t)i * 100));
  return NULL;
}

static int child(void) {
  pthread_t thread;
  for (int i = 0; i < 200; i++) {
    struct block* b = atomic_load(&g_slots[i]);
    if (b) check(b);
    free(malloc((size_t)i * 50));
  }
  if (pthread_create(&thread, NULL, short_lived, NULL) == 0) pthread_join(thread, NULL);
  return atomic_load(&g_damaged) ? 3 : 0;
}

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? atoi(argv[1]) : 3;
  pthread_t threads[kThreads], loader;
  for (uintptr_t i = 0; i < kThreads; i++) pthread_create(&threads[i], NULL, work, (void*)(i + 1));
  pthread_create(&loader, NULL, load, "libz.so.1");
  const time_t end = time(NULL) + seconds;
  int children = 0, bad_children = 0;
  while (time(NULL) < end) {
    pid_t pid = fork();
    if (pid == 0) {
      alarm(60);
      _exit(child());
    }
    int status;
    waitpid(pid, &status, 0);
    children++;
    bad_children += status != 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, short_lived, NULL) == 0) pthread_join(thread, NULL);
    if (children % 8 == 0) kill(getpid(), SIGUSR2);
  }
  atomic_store(&g_stop, 1);
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  pthread_join(loader, NULL);
  for (int i = 0; i < kSlots; i++) free(atomic_load(&g_slots[i]));
  fprintf(stderr, "note: %d children, %d of them bad, %d damaged blocks\n", children, bad_children, g_damaged);
  if (bad_children || g_damaged) return 1;
  puts("ok");
  return 0;
}
