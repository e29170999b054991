// SPDX-License-Identifier: Apache-2.0
// pvalloc: page-aligned, and the size is rounded up to whole pages.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

int main(void) {
  for (int i = 0; i < kSizeCount; i++) {
    void* block = pvalloc(kSizes[i]);
    size_t pages = (kSizes[i] + 4095) / 4096 * 4096;
    CHECK(block && aligned_to(block, 4096), "pvalloc(%zu) = %p", kSizes[i], block);
    CHECK(malloc_usable_size(block) >= pages, "pvalloc(%zu) has %zu usable bytes", kSizes[i],
          malloc_usable_size(block));
    fill(block, pages, 1);
    CHECK(holds(block, pages, 1), "pvalloc(%zu)", kSizes[i]);
    free(block);
  }
  const size_t too_big[] = {TOO_BIG, SIZE_MAX, SIZE_MAX - 100, SIZE_MAX - 4095};
  for (int i = 0; i < (int)(sizeof too_big / sizeof *too_big); i++) {
    errno = 0;
    void* none = pvalloc(opaque(too_big[i]));
    CHECK(!none && errno == ENOMEM, "pvalloc(%#zx) = %p, errno %d", too_big[i], none, errno);
  }
  return check_done();
}
