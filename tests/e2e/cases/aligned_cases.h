// SPDX-License-Identifier: Apache-2.0
// What memalign and aligned_alloc must do alike. The includer defines FUNCTION, and NAME for messages.
#include <malloc.h>
#include "check.h"

enum { kBlocks = 24 };

static void many(size_t alignment, size_t size) {
  void* blocks[kBlocks];
  for (int i = 0; i < kBlocks; i++) {
    blocks[i] = FUNCTION(alignment, size);
    CHECK(blocks[i], NAME "(%zu, %zu) gave NULL", alignment, size);
    CHECK(aligned_to(blocks[i], alignment), NAME "(%zu, %zu) = %p", alignment, size, blocks[i]);
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
      void* block = FUNCTION(alignment, size);
      CHECK(block && aligned_to(block, alignment), NAME "(%zu, %zu) = %p", alignment, size, block);
      free(block);
    }
  }
  for (size_t odd = 1; odd <= 5000; odd += 37) {
    size_t rounded = 1;
    while (rounded < odd) rounded *= 2;
    void* block = FUNCTION(opaque(odd), 100);
    CHECK(block && aligned_to(block, rounded), NAME "(%zu, 100) = %p, not a multiple of %zu", odd, block, rounded);
    free(block);
  }
  void* block = FUNCTION(opaque(0), 100);
  CHECK(block, NAME "(0, 100) gave NULL");
  free(block);
  block = FUNCTION(64, opaque(0));
  CHECK(block, NAME "(64, 0) gave NULL");
  free(block);

  const size_t too_big[] = {TOO_BIG, SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 4096};
  for (int i = 0; i < (int)(sizeof too_big / sizeof *too_big); i++) {
    errno = 0;
    void* none = FUNCTION(64, opaque(too_big[i]));
    CHECK(!none && errno == ENOMEM, NAME "(64, %#zx) = %p, errno %d", too_big[i], none, errno);
  }
  errno = 0;
  void* none = FUNCTION(opaque(((size_t)1 << 63) + 1), 100);
  CHECK(!none && errno == EINVAL, NAME "(2^63 + 1, 100) = %p, errno %d", none, errno);

  block = FUNCTION(4096, 10000);
  fill(block, 10000, 8);
  block = realloc(block, 50000);
  CHECK(block && holds(block, 10000, 8), "realloc of an aligned block lost its contents");
  free(block);
  return check_done();
}
