// SPDX-License-Identifier: Apache-2.0
// A host that closes every descriptor while a long report is being written, and opens its own files under the
// same numbers, as daemons do: they hold what the host wrote and nothing else, and stay open.
// BACKENDS: system
// ENV: ALLOC_SAMPLE_BYTES=1
// SECONDS: 60
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "reports.h"

static __attribute__((noinline, noclone)) void left(unsigned path, int depth);
static __attribute__((noinline, noclone)) void right(unsigned path, int depth) {
  if (depth == 0) {
    void* volatile block = malloc(8);
    (void)block;
  } else if (path & 1) {
    left(path >> 1, depth - 1);
  } else {
    right(path >> 1, depth - 1);
  }
  __asm__ volatile("");
}
static void left(unsigned path, int depth) {
  if (depth == 0) {
    void* volatile block = malloc(9);
    (void)block;
  } else if (path & 1) {
    left(path >> 1, depth - 1);
  } else {
    right(path >> 1, depth - 1);
  }
  __asm__ volatile("");
}

int main(void) {
  char path[2][400];
  int fd[2];
  for (unsigned i = 0; i < 20000; i++) right(i, 16);
  raise(SIGUSR2);
  for (int f = 0; f < 2; f++) snprintf(path[f], sizeof path[f], "%s/data%d", getenv("E2E_DIR"), f);
  for (int round = 0; round < 200 && count_reports() == 0; round++) {
    for (int f = 3; f < 20; f++) close(f);
    for (int f = 0; f < 2; f++) {
      fd[f] = open(path[f], O_CREAT | O_RDWR | O_TRUNC, 0600);
      CHECK(fd[f] >= 0 && write(fd[f], "HEAD", 4) == 4, "first write");
    }
    usleep(5000);
    for (int f = 0; f < 2; f++) {
      struct stat state;
      CHECK(write(fd[f], "TAIL", 4) == 4, "second write");
      CHECK(fstat(fd[f], &state) == 0 && state.st_size == 8, "file %d has %ld bytes", f, (long)state.st_size);
    }
  }
  CHECK(wait_for_reports(1) == 1, "no report");
  return check_done();
}
