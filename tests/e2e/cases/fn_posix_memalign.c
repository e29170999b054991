// SPDX-License-Identifier: Apache-2.0
// posix_memalign: alignment up to 1 MiB, EINVAL without touching *p or errno, ENOMEM in errno, too.
// BACKENDS: all
#include "check.h"

int main(void) {
  void* const marker = &check_failures;
  for (size_t alignment = sizeof(void*); alignment <= 1 << 20; alignment *= 2) {
    for (int i = 0; i < kSizeCount; i++) {
      if (kSizes[i] > 2000000) continue;
      void* block = marker;
      int result = posix_memalign(&block, alignment, kSizes[i]);
      CHECK(result == 0 && block && block != marker, "posix_memalign(%zu, %zu) = %d", alignment, kSizes[i], result);
      CHECK(aligned_to(block, alignment), "posix_memalign(%zu, %zu) = %p", alignment, kSizes[i], block);
      if (kSizes[i] < 5000) fill(block, kSizes[i], 3);
      free(block);
    }
  }
  const size_t bad[] = {0, 1, 2, 3, 4, 6, 7, 12, 24, 40, 48, 100, 4095, 4097, SIZE_MAX, ((size_t)1 << 63) + 8};
  for (int i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
    void* block = marker;
    errno = 77;
    int result = posix_memalign(&block, opaque(bad[i]), 100);
    CHECK(result == EINVAL, "alignment %zu gives %d instead of EINVAL", bad[i], result);
    CHECK(block == marker && errno == 77, "alignment %zu touched *p or errno (%d)", bad[i], errno);
  }
  const size_t too_big[] = {TOO_BIG, SIZE_MAX, SIZE_MAX - 64, SIZE_MAX - 4096};
  for (int i = 0; i < (int)(sizeof too_big / sizeof *too_big); i++) {
    void* block = marker;
    errno = 77;
    int result = posix_memalign(&block, 64, opaque(too_big[i]));
    CHECK(result == ENOMEM && block == marker, "size %#zx gives %d", too_big[i], result);
    CHECK(errno == ENOMEM, "size %#zx leaves errno %d", too_big[i], errno);
  }
  void* block = marker;
  CHECK(posix_memalign(&block, 64, 0) == 0 && block != marker, "size 0");
  free(block);
  return check_done();
}
