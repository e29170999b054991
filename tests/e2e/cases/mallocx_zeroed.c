// SPDX-License-Identifier: Apache-2.0
// Linked with libjemalloc: large zeroed blocks of its interface are zero, and take no memory until they are written
// to, whoever serves (tests/e2e/test_own_allocator.py).
#include <fcntl.h>
#include <unistd.h>
#include "check.h"

void* mallocx(size_t bytes, int flags);
void dallocx(void* block, int flags);

enum { kZero = 0x40, kAligned64 = 6, kAligned65536 = 16, kPage = 4096 };
static const size_t kLarge = (size_t)128 << 20, kMost = (size_t)8 << 20;

static size_t resident(void) {
  char text[100];
  int fd = open("/proc/self/statm", O_RDONLY);
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  unsigned long pages = 0, present = 0;
  CHECK(sscanf(text, "%lu %lu", &pages, &present) == 2, "statm");
  return present * kPage;
}

int main(void) {
  const int flags[] = {kZero, kZero | kAligned64, kZero | kAligned65536};
  resident();
  for (int i = 0; i < 3; i++) {
    size_t before = resident();
    unsigned char* block = mallocx(kLarge, flags[i]);
    size_t after = resident();
    CHECK(block, "mallocx");
    CHECK(after < before + kMost, "flags %d: %zu KiB became resident", flags[i], (after - before) >> 10);
    for (size_t at = 0; at < kLarge; at += 257) CHECK(block[at] == 0, "flags %d: not zero at %zu", flags[i], at);
    memset(block + kLarge / 2, 0xa5, kLarge / 4);
    dallocx(block, 0);
    // Memory that has been used is cleared: more of it than is fresh, or all.
    block = mallocx(kLarge, flags[i]);
    for (size_t at = 0; at < kLarge; at += 61) CHECK(block[at] == 0, "flags %d: not zero at %zu again", flags[i], at);
    dallocx(block, 0);
  }
  return check_done();
}
