// SPDX-License-Identifier: Apache-2.0
// More samples and more different stacks than any table may hold: what does not fit is dropped, counted and
// printed; the program's blocks are all right and mallard's memory stays bounded.
// BACKENDS: system mimalloc2
// ENV: ALLOC_SAMPLE_BYTES=1
// REPORTS: 1
// SECONDS: 60
#include <signal.h>
#include "reports.h"

enum { kBlocks = 1500000 };
static unsigned char** g_blocks;

// A binary tree of calls: 2^16 different stacks.
static __attribute__((noinline, noclone)) unsigned char* left(unsigned path, int depth);
static __attribute__((noinline, noclone)) unsigned char* right(unsigned path, int depth) {
  unsigned char* block = depth == 0 ? malloc(8) : (path & 1 ? left(path >> 1, depth - 1) : right(path >> 1, depth - 1));
  __asm__ volatile("" : "+r"(block));
  return block;
}
static unsigned char* left(unsigned path, int depth) {
  unsigned char* block = depth == 0 ? malloc(9) : (path & 1 ? left(path >> 1, depth - 1) : right(path >> 1, depth - 1));
  __asm__ volatile("" : "+r"(block));
  return block;
}

int main(void) {
  g_blocks = malloc(kBlocks * sizeof *g_blocks);
  for (unsigned i = 0; i < kBlocks; i++) {
    g_blocks[i] = i < 200000 ? right(i * 2654435761u >> 8, 16) : malloc(8);
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
