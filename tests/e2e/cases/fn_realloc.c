// SPDX-License-Identifier: Apache-2.0
// realloc: contents kept over every pair of sizes, (NULL, n), (p, 0), failure keeps the old block.
// BACKENDS: all
#include "check.h"

int main(void) {
  for (int from = 0; from < kSizeCount; from += 2) {
    for (int to = 0; to < kSizeCount; to += 3) {
      if (kSizes[to] == 0 || (kSizes[from] > 1000000 && kSizes[to] > 1000000 && from % 3)) continue;
      void* block = malloc(kSizes[from]);
      size_t kept = kSizes[from] < kSizes[to] ? kSizes[from] : kSizes[to];
      if (kept > 300000) kept = 300000;
      fill(block, kept, (unsigned)from);
      block = realloc(block, kSizes[to]);
      CHECK(block && holds(block, kept, (unsigned)from), "realloc from %zu to %zu", kSizes[from], kSizes[to]);
      CHECK(aligned_to(block, natural_alignment(kSizes[to])), "realloc to %zu = %p", kSizes[to], block);
      free(block);
    }
  }
  char* grown = NULL;
  for (size_t size = 1; size < 2000000; size += size / 3 + 1) {
    grown = realloc(grown, size);
    CHECK(grown, "growing to %zu", size);
    grown[size - 1] = (char)size;
    CHECK(size == 1 || grown[0] == 1, "the first byte is lost at %zu", size);
  }
  errno = 0;
  void* none = realloc(grown, opaque(TOO_BIG));
  CHECK(!none && errno == ENOMEM, "realloc(p, 2^63) = %p, errno %d", none, errno);
  none = realloc(grown, opaque(SIZE_MAX - 8));
  CHECK(!none, "realloc(p, SIZE_MAX - 8) = %p", none);
  CHECK(grown[0] == 1, "the old block is gone after a failed realloc");
  free(grown);

  for (int i = 0; i < kSizeCount; i++) {
    void* block = malloc(kSizes[i]);
    none = realloc(block, opaque(0));
    CHECK(!none, "realloc(p, 0) = %p for %zu bytes", none, kSizes[i]);
  }
  for (int i = 0; i < 200000; i++) CHECK(!realloc(malloc(1000), opaque(0)), "realloc(p, 0), round %d", i);
  void* fresh = realloc(NULL, opaque(0));
  CHECK(fresh, "realloc(NULL, 0) gave NULL");
  free(fresh);
  fresh = realloc(NULL, 100);
  CHECK(fresh, "realloc(NULL, 100) gave NULL");
  fill(fresh, 100, 9);
  errno = 31;
  fresh = realloc(fresh, 50);
  CHECK(errno == 31 && holds(fresh, 50, 9), "shrinking: errno %d", errno);
  free(fresh);
  return check_done();
}
