// SPDX-License-Identifier: Apache-2.0
// calloc: zeroed although the memory was dirty, overflow, zero.
// BACKENDS: all
#include "check.h"

int main(void) {
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < kSizeCount; i++) {
      void* dirty[4];
      for (int k = 0; k < 4; k++) {
        dirty[k] = malloc(kSizes[i]);
        memset(dirty[k], 0xa5, kSizes[i]);
      }
      for (int k = 0; k < 4; k++) free(dirty[k]);
      unsigned char* block = calloc(1, opaque(kSizes[i]));
      CHECK(block, "calloc(1, %zu)", kSizes[i]);
      size_t sum = 0;
      for (size_t k = 0; k < kSizes[i]; k++) sum += block[k];
      CHECK(sum == 0, "calloc(1, %zu) is not zeroed", kSizes[i]);
      CHECK(aligned_to(block, natural_alignment(kSizes[i])), "calloc(1, %zu) = %p", kSizes[i], (void*)block);
      memset(block, 0x5a, kSizes[i]);
      free(block);
    }
  }
  void* a = calloc(opaque(0), 8);
  void* b = calloc(8, opaque(0));
  CHECK(a && b && a != b, "calloc of nothing gave %p and %p", a, b);
  free(a);
  free(b);
  const size_t bad[][2] = {{SIZE_MAX, 2}, {SIZE_MAX / 2, 3}, {(size_t)1 << 32, (size_t)1 << 32},
                           {1, TOO_BIG}, {TOO_BIG, 1}, {SIZE_MAX, SIZE_MAX}, {(size_t)1 << 62, 4}};
  for (int i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
    errno = 0;
    void* none = calloc(opaque(bad[i][0]), opaque(bad[i][1]));
    CHECK(!none && errno == ENOMEM, "calloc(%#zx, %#zx) = %p, errno %d", bad[i][0], bad[i][1], none, errno);
  }
  return check_done();
}
