// SPDX-License-Identifier: Apache-2.0
// Opened by deep_binding.c. What libc's getline allocates comes from the malloc that libc is bound to.
#include <stdio.h>
#include <stdlib.h>

char* read_line(void) {
  char* line = NULL;
  size_t bytes = 0;
  FILE* stream = fopen("/proc/self/status", "r");
  if (getline(&line, &bytes, stream) < 0) abort();
  fclose(stream);
  char* longer = realloc(line, 5000);
  free(malloc(64));
  return longer;
}

void release(void* block) { free(block); }
