// SPDX-License-Identifier: Apache-2.0
// mallopt: 1 for what glibc knows when glibc serves; 0 or 1 and no harm otherwise.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

int main(void) {
  const char* backend = getenv("ALLOC_BACKEND");
  int glibc = !backend || strcmp(backend, "system") == 0;
  int result = mallopt(M_MMAP_THRESHOLD, 1 << 20);
  CHECK(glibc ? result == 1 : (result == 0 || result == 1), "mallopt(M_MMAP_THRESHOLD) = %d", result);
  result = mallopt(M_TRIM_THRESHOLD, 1 << 20);
  CHECK(glibc ? result == 1 : (result == 0 || result == 1), "mallopt(M_TRIM_THRESHOLD) = %d", result);
  result = mallopt(M_MMAP_THRESHOLD, -1);
  CHECK(result == 0 || result == 1, "mallopt(M_MMAP_THRESHOLD, -1) = %d", result);
  void* block = malloc(500000);
  fill(block, 500000, 1);
  CHECK(holds(block, 500000, 1), "block after mallopt");
  free(block);
  return check_done();
}
