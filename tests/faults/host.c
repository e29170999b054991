// SPDX-License-Identifier: Apache-2.0
// A host that takes every failure that malloc, mmap, fork and pthread_create may report, and checks what it got: blocks
// keep their contents, handlers run, children end, and it comes to its end. Its phases are told to fail_nth.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPhaseMark = 0x66617573 };
enum Phase { kStart, kRecording, kReport, kFork, kEnd };

static void phase(enum Phase now) { prctl(kPhaseMark, (unsigned long)now, 0, 0, 0); }

static void fail(const char* what) {
  fprintf(stderr, "host: %s\n", what);
  _exit(1);
}

enum { kBlocks = 64 };
static void use_memory(unsigned seed, int rounds) {
  unsigned char* blocks[kBlocks] = {0};
  size_t sizes[kBlocks] = {0};
  unsigned x = seed;
  for (int i = 0; i < rounds; i++) {
    x = x * 1103515245 + 12345;
    unsigned at = x >> 16 & (kBlocks - 1);
    if (blocks[at] && blocks[at][0] != (unsigned char)sizes[at]) fail("a block has lost its contents");
    if (blocks[at] && sizes[at] > 1 && blocks[at][sizes[at] - 1] != (unsigned char)at) fail("its end has");
    size_t bytes = x % 7 == 0 ? x % 300000 + 2 : x % 2000 + 2;
    if (x % 3 == 0) {
      unsigned char* moved = realloc(blocks[at], bytes);
      if (!moved) continue;
      blocks[at] = moved;
    } else {
      free(blocks[at]);
      blocks[at] = x % 5 == 0 ? calloc(1, bytes) : malloc(bytes);
      if (!blocks[at]) {
        sizes[at] = 0;
        continue;
      }
    }
    sizes[at] = bytes;
    blocks[at][0] = (unsigned char)bytes;
    blocks[at][bytes - 1] = (unsigned char)at;
  }
  for (int i = 0; i < kBlocks; i++) free(blocks[i]);
}

static void* in_thread(void* seed) {
  use_memory((unsigned)(size_t)seed, 1500);
  return seed;
}

static void with_threads(void) {
  pthread_t threads[3];
  int made[3];
  for (int i = 0; i < 3; i++) made[i] = pthread_create(&threads[i], NULL, in_thread, (void*)(size_t)(i + 7)) == 0;
  for (int i = 0; i < 3; i++)
    if (made[i]) pthread_join(threads[i], NULL);
}

static void map_memory(void) {
  for (int i = 1; i < 20; i++) {
    char* p = mmap(NULL, (size_t)i << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) continue;
    p[0] = 1;
    char* q = mremap(p, (size_t)i << 16, (size_t)i << 17, MREMAP_MAYMOVE);
    if (q == MAP_FAILED) munmap(p, (size_t)i << 16);
    else if (q[0] != 1) fail("a mapping has lost its contents");
    else if (munmap(q, (size_t)i << 17) != 0 && errno != ENOMEM) fail("munmap");
  }
}

static void pause_ms(int ms) {
  struct timespec rest = {ms / 1000, ms % 1000 * 1000000L};
  while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
  }
}

// Asks for a report by a child, as a shell would, and waits until the reporter's thread has ended.
static void ask(void) {
  pid_t self = getpid(), child = fork();
  if (child == 0) _exit(kill(self, SIGUSR2) != 0);
  if (child > 0)
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
  for (int i = 0; i < 40; i++) {
    use_memory((unsigned)i, 50);
    pause_ms(5);
  }
}

static void with_children(void) {
  for (int i = 0; i < 4; i++) {
    pid_t child = fork();
    if (child == 0) {
      use_memory((unsigned)i + 77, 500);
      _exit(3);
    }
    int status = 0;
    if (child < 0) continue;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) fail("a child did not end well");
  }
}

int main(void) {
  phase(kRecording);
  use_memory(1, 20000);
  map_memory();
  with_threads();
  phase(kReport);
  ask();
  phase(kFork);
  with_children();
  use_memory(5, 5000);
  phase(kEnd);
  if (puts("ok") < 0) return 1;
  return 0;
}
