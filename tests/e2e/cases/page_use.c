// SPDX-License-Identifier: Apache-2.0
// Pages that are not as they look: shared with a parent, given back by a bare MADV_FREE under a live block and in
// a mapping, and private copies of a file's pages. The child prints its pid and waits; the parent waits for a line.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "reports.h"

enum { kMiB = 1 << 20 };

int main(int count, char** words) {
  if (count < 2) return 5;
  static char* blocks[16 << 10];
  for (int i = 0; i < 16 << 10; i++) memset(blocks[i] = malloc(1000), 1, 1000);
  int file = open(words[1], O_RDWR | O_CREAT, 0600), done[2];
  char byte = 0;
  if (file < 0 || ftruncate(file, 4 * kMiB) != 0 || pipe(done) != 0) return 5;
  char* copy = mmap(0, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  memset(copy, 1, 3 * kMiB);
  pid_t child = fork();
  if (child == 0) {
    char* freed = (char*)syscall(SYS_mmap, 0, 10 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(freed, 1, 10 * kMiB);
    syscall(SYS_madvise, freed, 8 * kMiB, MADV_FREE);
    if (write(done[1], "x", 1) != 1) return 5;
    for (;;) pause_ms(1000);
  }
  if (read(done[0], &byte, 1) != 1) return 5;
  printf("ready %d\n", (int)child);
  fflush(stdout);
  getchar();
  kill(child, SIGKILL);
  printf("ok\n");
  return 0;
}
