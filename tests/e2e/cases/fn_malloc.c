// SPDX-License-Identifier: Apache-2.0
// malloc: zero, every size, overflow, distinct blocks that do not overlap.
// BACKENDS: all
#include "check.h"

int main(void) {
  void* zero_a = malloc(opaque(0));
  void* zero_b = malloc(opaque(0));
  CHECK(zero_a && zero_b && zero_a != zero_b, "malloc(0) gave %p and %p", zero_a, zero_b);
  free(zero_a);
  free(zero_b);

  void* blocks[kSizeCount];
  for (int i = 0; i < kSizeCount; i++) {
    blocks[i] = malloc(kSizes[i]);
    CHECK(blocks[i], "malloc(%zu)", kSizes[i]);
    CHECK(aligned_to(blocks[i], natural_alignment(kSizes[i])), "malloc(%zu) = %p", kSizes[i], blocks[i]);
    fill(blocks[i], kSizes[i], (unsigned)i);
  }
  for (int i = 0; i < kSizeCount; i++) CHECK(holds(blocks[i], kSizes[i], (unsigned)i), "size %zu", kSizes[i]);
  for (int i = 0; i < kSizeCount; i++) free(blocks[i]);

  const size_t too_big[] = {TOO_BIG, TOO_BIG + 4096, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4096};
  for (int i = 0; i < (int)(sizeof too_big / sizeof *too_big); i++) {
    errno = 0;
    void* none = malloc(opaque(too_big[i]));
    CHECK(!none && errno == ENOMEM, "malloc(%#zx) = %p, errno %d", too_big[i], none, errno);
  }
  errno = 0;
  CHECK(!malloc(opaque(PTRDIFF_MAX)) && errno == ENOMEM, "malloc(PTRDIFF_MAX), errno %d", errno);

  errno = 17;
  void* block = malloc(100);
  CHECK(errno == 17, "a successful malloc set errno to %d", errno);
  free(block);
  return check_done();
}
