// SPDX-License-Identifier: Apache-2.0
// malloc_info: XML when glibc serves; anything but a crash otherwise; options other than 0 are refused.
// BACKENDS: all
#include <malloc.h>
#include "check.h"

int main(void) {
  char* text = NULL;
  size_t size = 0;
  FILE* stream = open_memstream(&text, &size);
  void* block = malloc(1000);
  int result = malloc_info(0, stream);
  fclose(stream);
  const char* backend = getenv("ALLOC_BACKEND");
  if (!backend || strcmp(backend, "system") == 0)
    CHECK(result == 0 && strstr(text, "<malloc") && strstr(text, "</malloc>"), "malloc_info = %d: %.40s", result,
          text);
  stream = fopen("/dev/null", "w");
  CHECK(malloc_info(1, stream) != 0, "malloc_info(1, ...) succeeded");
  fclose(stream);
  free(text);
  free(block);
  return check_done();
}
