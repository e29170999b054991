// SPDX-License-Identifier: Apache-2.0
// memalign: real alignment for many sizes; odd alignments are rounded up to the next power of two
// (glibc 2.36); failures.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

enum { kBlocks = 24 };

static void many(size_t alignment, size_t size) {
  void* blocks[kBlocks];
  for (int i = 0; i < kBlocks; i++) {
    blocks[i] = memalign(alignment, size);
    CHECK(blocks[i], "memalign(%zu, %zu) gave NULL", alignment, size);
    CHECK(aligned_to(blocks[i], alignment), "memalign(%zu, %zu) = %p", alignment, size, blocks[i]);
    if (size <= 4096) fill(blocks[i], size, (unsigned)i);
  }
  for (int i = 0; i < kBlocks; i++) {
    CHECK(size > 4096 || holds(blocks[i], size, (unsigned)i), "blocks of %zu overlap", size);
    CHECK(malloc_usable_size(blocks[i]) >= size, "usable size %zu < %zu", malloc_usable_size(blocks[i]), size);
    free(blocks[i]);
  }
}

int main(void) {
  for (size_t alignment = 1; alignment <= 65536; alignment *= 2)
    for (int i = 0; i < kSizeCount; i++)
      if (kSizes[i] <= 70000) many(alignment, kSizes[i]);
  for (size_t alignment = 16; alignment <= 8192; alignment *= 2)
    for (size_t size = alignment; size <= 8 * alignment && size <= 20000; size += alignment / 4) many(alignment, size);
  for (size_t alignment = 131072; alignment <= 1 << 20; alignment *= 2) {
    for (size_t size = 1; size < 3000000; size = size * 5 + 3) {
      void* block = memalign(alignment, size);
      CHECK(block && aligned_to(block, alignment), "memalign(%zu, %zu) = %p", alignment, size, block);
      free(block);
    }
  }
  for (size_t odd = 1; odd <= 5000; odd += 37) {
    size_t rounded = 1;
    while (rounded < odd) rounded *= 2;
    void* block = memalign(opaque(odd), 100);
    CHECK(block && aligned_to(block, rounded), "memalign(%zu, 100) = %p, not a multiple of %zu", odd, block, rounded);
    free(block);
  }
  void* block = memalign(opaque(0), 100);
  CHECK(block, "memalign(0, 100) gave NULL");
  free(block);
  block = memalign(64, opaque(0));
  CHECK(block, "memalign(64, 0) gave NULL");
  free(block);

  const size_t too_big[] = {TOO_BIG, SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 4096};
  for (int i = 0; i < (int)(sizeof too_big / sizeof *too_big); i++) {
    errno = 0;
    void* none = memalign(64, opaque(too_big[i]));
    CHECK(!none && errno == ENOMEM, "memalign(64, %#zx) = %p, errno %d", too_big[i], none, errno);
  }
  errno = 0;
  void* none = memalign(opaque(((size_t)1 << 63) + 1), 100);
  CHECK(!none && errno == EINVAL, "memalign(2^63 + 1, 100) = %p, errno %d", none, errno);

  block = memalign(4096, 10000);
  fill(block, 10000, 8);
  block = realloc(block, 50000);
  CHECK(block && holds(block, 10000, 8), "realloc of an aligned block lost its contents");
  free(block);
  return check_done();
}
