// SPDX-License-Identifier: Apache-2.0
// Linked with libjemalloc: blocks of mallocx and of malloc cross freely, and 8 MB of mallocx stay until a line comes
// (tests/e2e/test_own_allocator.py).
#include <stdint.h>
#include <unistd.h>
#include "check.h"

void* mallocx(size_t bytes, int flags);
void* rallocx(void* block, size_t bytes, int flags);
size_t xallocx(void* block, size_t bytes, size_t more, int flags);
size_t sallocx(const void* block, int flags);
size_t nallocx(size_t bytes, int flags);
void dallocx(void* block, int flags);
void sdallocx(void* block, size_t bytes, int flags);
enum { kAligned4096 = 12, kZero = 64, kNoThreadCache = 1 << 8 };

static void (*volatile g_release)(void*, int) = dallocx;  // a slot of data, not of a call
static void* g_kept[2000];

static void cross(void) {
  for (int i = 0; i < 3000; i++) {
    unsigned char* aligned = mallocx(5000, kZero | kAligned4096);
    CHECK((uintptr_t)aligned % 4096 == 0, "mallocx is not aligned");
    for (int k = 0; k < 5000; k++) CHECK(aligned[k] == 0, "mallocx is not zeroed");
    memset(aligned, 7, 5000);
    free(aligned);
    dallocx(malloc(300), kNoThreadCache);  // as redis frees
    sdallocx(calloc(1, 200), 200, 0);
    unsigned char* grown = rallocx(malloc(100), 70000, 0);
    grown[69999] = 1;
    CHECK(sallocx(grown, 0) >= 70000, "sallocx is less than was asked for");
    CHECK(xallocx(grown, 70000, 10, 0) >= 70000, "xallocx made it smaller");
    grown = realloc(grown, 90000);
    g_release(grown, 0);
    CHECK(nallocx(100, 0) >= 100, "nallocx is less than was asked for");
  }
}

__attribute__((noinline, noclone)) void keep_by_mallocx(void) {
  for (int i = 0; i < 2000; i++) memset(g_kept[i] = mallocx(4000, 0), 1, 4000);
}

int main(void) {
  cross();
  keep_by_mallocx();
  puts("ready");
  fflush(stdout);
  char text[100];
  while (read(0, text, sizeof text) < 0 && errno == EINTR) {
  }
  for (int i = 0; i < 2000; i++) i % 2 ? dallocx(g_kept[i], 0) : free(g_kept[i]);
  return check_done();
}
