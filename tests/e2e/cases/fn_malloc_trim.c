// SPDX-License-Identifier: Apache-2.0
// malloc_trim: returns 0 or 1 and leaves live blocks alone.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

int main(void) {
  void* kept = malloc(5000);
  fill(kept, 5000, 2);
  void* blocks[2000];
  for (int i = 0; i < 2000; i++) blocks[i] = malloc(3000);
  for (int i = 0; i < 2000; i++) free(blocks[i]);
  for (size_t pad = 0; pad < 1 << 20; pad = pad * 2 + 1000) {
    int result = malloc_trim(pad);
    CHECK(result == 0 || result == 1, "malloc_trim(%zu) = %d", pad, result);
  }
  CHECK(holds(kept, 5000, 2), "malloc_trim touched a live block");
  free(kept);
  return check_done();
}
