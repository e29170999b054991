// SPDX-License-Identifier: Apache-2.0
// free_aligned_sized (C23): glibc 2.36 has none, we offer it; NULL is fine, errno is kept.
// BACKENDS: all
#include <dlfcn.h>
#include "check.h"

int main(void) {
  void (*release)(void*, size_t, size_t) = (void (*)(void*, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
  CHECK(release, "no free_aligned_sized");
  if (!release) return check_done();
  release(NULL, 256, 10);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < kSizeCount; i++) {
      void* block = aligned_alloc(256, kSizes[i]);
      if (kSizes[i] < 70000) fill(block, kSizes[i], 1);
      errno = 5;
      release(block, 256, kSizes[i]);
      CHECK(errno == 5, "errno is %d after %zu bytes", errno, kSizes[i]);
    }
  }
  return check_done();
}
