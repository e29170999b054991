// SPDX-License-Identifier: Apache-2.0
// Allocates about 16 MB in allocate_here, some 33 samples at the default rate, says 'ready', waits for a line, ends (used by several tests).
#include <unistd.h>
#include "check.h"

enum { kBlocks = 4000 };
static void* g_blocks[kBlocks];

__attribute__((noinline, noclone)) void allocate_here(void) {
  for (int i = 0; i < kBlocks; i++) {
    g_blocks[i] = malloc(4000);
    memset(g_blocks[i], 1, 4000);
  }
}

int main(void) {
  allocate_here();
  puts("ready");
  fflush(stdout);
  char text[100];
  ssize_t got;
  while ((got = read(0, text, sizeof text)) < 0 && errno == EINTR) {
  }
  for (int i = 0; i < kBlocks; i++) free(g_blocks[i]);
  return check_done();
}
