// SPDX-License-Identifier: Apache-2.0
// Allocates about 8 MB in allocate_here, says 'ready', waits for a line, ends (used by several tests).
#include <unistd.h>
#include "check.h"

static void* g_blocks[2000];

__attribute__((noinline, noclone)) void allocate_here(void) {
  for (int i = 0; i < 2000; i++) {
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
  for (int i = 0; i < 2000; i++) free(g_blocks[i]);
  return check_done();
}
