// SPDX-License-Identifier: Apache-2.0
// More samples and more different stacks than any table may hold: what does not fit is dropped, counted and
// printed; the program's blocks are all right and mallard's memory stays bounded.
// BACKENDS: system
// ENV: ALLOC_SAMPLE_BYTES=1
// REPORTS: 1
// SECONDS: 60
#include <signal.h>
#include "reports.h"

enum { kBlocks = 1500000 };
static unsigned char** g_blocks;

// Sixteen places that call the next level: five levels are a million different stacks.
static __attribute__((noinline, noclone)) unsigned char* step(unsigned path, int depth) {
  unsigned char* block = NULL;
#define PLACE(n)                                                   \
  case n:                                                          \
    block = depth == 0 ? malloc(8) : step(path >> 4, depth - 1);   \
    __asm__ volatile("# place " #n : "+r"(block));                 \
    break;
  switch (path & 15) {
    PLACE(0) PLACE(1) PLACE(2) PLACE(3) PLACE(4) PLACE(5) PLACE(6) PLACE(7)
    PLACE(8) PLACE(9) PLACE(10) PLACE(11) PLACE(12) PLACE(13) PLACE(14) PLACE(15)
  }
  return block;
}

int main(void) {
  g_blocks = malloc(kBlocks * sizeof *g_blocks);
  for (unsigned i = 0; i < kBlocks; i++) {
    g_blocks[i] = i < 200000 ? step(i * 2654435761u >> 4, 4) : malloc(8);
    g_blocks[i][0] = (unsigned char)i;
  }
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  for (unsigned i = 0; i < kBlocks; i++) {
    CHECK(g_blocks[i][0] == (unsigned char)i, "block %u", i);
    free(g_blocks[i]);
  }
  free(g_blocks);
  return check_done();
}
