// SPDX-License-Identifier: Apache-2.0
// valloc: page-aligned.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

int main(void) {
  for (int i = 0; i < kSizeCount; i++) {
    void* block = valloc(kSizes[i]);
    CHECK(block && aligned_to(block, 4096), "valloc(%zu) = %p", kSizes[i], block);
    fill(block, kSizes[i], 1);
    CHECK(holds(block, kSizes[i], 1), "valloc(%zu)", kSizes[i]);
    free(block);
  }
  errno = 0;
  void* none = valloc(opaque(TOO_BIG));
  CHECK(!none && errno == ENOMEM, "valloc(2^63) = %p, errno %d", none, errno);
  none = valloc(opaque(SIZE_MAX));
  CHECK(!none, "valloc(SIZE_MAX) = %p", none);
  return check_done();
}
