// SPDX-License-Identifier: Apache-2.0
// malloc_usable_size: 0 for NULL, at least the size, and every usable byte may be written.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

int main(void) {
  CHECK(malloc_usable_size(opaque_pointer(NULL)) == 0, "usable size of NULL");
  for (int i = 0; i < kSizeCount; i++) {
    void* blocks[3] = {malloc(kSizes[i]), calloc(1, kSizes[i]), aligned_alloc(64, kSizes[i])};
    size_t usable[3];
    for (int k = 0; k < 3; k++) {
      usable[k] = malloc_usable_size(blocks[k]);
      CHECK(usable[k] >= kSizes[i], "%zu usable bytes for %zu (kind %d)", usable[k], kSizes[i], k);
      fill(blocks[k], usable[k], (unsigned)k);
    }
    for (int k = 0; k < 3; k++) {
      CHECK(holds(blocks[k], usable[k], (unsigned)k), "the usable bytes of %zu overlap", kSizes[i]);
      CHECK(malloc_usable_size(blocks[k]) == usable[k], "the usable size changed");
      free(blocks[k]);
    }
  }
  return check_done();
}
