// SPDX-License-Identifier: Apache-2.0
// malloc_stats: may write to stderr, never to stdout, and must not crash.
// BACKENDS: all
// STDOUT: \Aok\n\Z
#include <malloc.h>
#include "check.h"

int main(void) {
  void* block = malloc(100000);
  malloc_stats();
  fill(block, 100000, 1);
  CHECK(holds(block, 100000, 1), "block after malloc_stats");
  free(block);
  return check_done();
}
