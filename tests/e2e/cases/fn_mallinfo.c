// SPDX-License-Identifier: Apache-2.0
// mallinfo: callable under every backend; under system it counts what is allocated.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

int main(void) {
  struct mallinfo before = mallinfo();
  void* blocks[1000];
  for (int i = 0; i < 1000; i++) blocks[i] = malloc(2000);
  struct mallinfo after = mallinfo();
  const char* backend = getenv("ALLOC_BACKEND");
  if (!backend || strcmp(backend, "system") == 0)
    CHECK(after.uordblks >= before.uordblks + (int)1900000, "uordblks grew by %ld",
          (long)(after.uordblks - before.uordblks));
  CHECK((long)after.uordblks >= 0 && (long)after.arena >= 0, "negative figures");
  for (int i = 0; i < 1000; i++) free(blocks[i]);
  return check_done();
}
