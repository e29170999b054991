// SPDX-License-Identifier: Apache-2.0
// reallocarray: as realloc(p, n * size), overflow keeps the old block.
// BACKENDS: all
#include "check.h"

int main(void) {
  unsigned char* block = reallocarray(NULL, 25, 40);
  CHECK(block, "reallocarray(NULL, 25, 40)");
  fill(block, 1000, 5);
  block = reallocarray(block, 500, 400);
  CHECK(block && holds(block, 1000, 5), "growth lost the contents");
  fill(block, 200000, 6);
  const size_t bad[][2] = {{SIZE_MAX, 2}, {SIZE_MAX / 2, 4}, {(size_t)1 << 33, (size_t)1 << 31}, {2, TOO_BIG},
                           {1, TOO_BIG}};
  for (int i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
    errno = 0;
    void* none = reallocarray(block, opaque(bad[i][0]), opaque(bad[i][1]));
    CHECK(!none && errno == ENOMEM, "reallocarray(p, %#zx, %#zx) = %p, errno %d", bad[i][0], bad[i][1], none,
          errno);
    CHECK(holds(block, 200000, 6), "the old block changed");
  }
  block = reallocarray(block, 10, 10);
  CHECK(block && holds(block, 100, 6), "shrinking lost the contents");
  void* none = reallocarray(block, opaque(0), 10);
  CHECK(!none, "reallocarray(p, 0, 10) = %p", none);
  void* fresh = reallocarray(NULL, 10, opaque(0));
  CHECK(fresh, "reallocarray(NULL, 10, 0) gave NULL");
  free(fresh);
  return check_done();
}
