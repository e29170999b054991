// SPDX-License-Identifier: Apache-2.0
// Allocates until there is no more under its limit on address space, and prints how much it got, and how much of the
// limit libmallard.so's own code and data take, in KiB. With a word: then gives all back, goes on, and is reported.
#include <stdlib.h>
#include <string.h>
#include "reports.h"

enum { kBlock = 60000 };

static unsigned long size_of_library(void) {
  static char lines[1 << 16];
  int fd = open("/proc/self/maps", O_RDONLY);
  size_t have = 0;
  for (ssize_t n; have + 1 < sizeof lines && (n = read(fd, lines + have, sizeof lines - 1 - have)) > 0;)
    have += (size_t)n;
  close(fd);
  unsigned long bytes = 0, end_before = 0;
  for (char* line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
    unsigned long begin, end;
    char name[512] = "";
    sscanf(line, "%lx-%lx %*s %*s %*s %*s %511s", &begin, &end, name);
    // Its zero-initialised data has no name, and follows.
    const int is_its = strstr(name, "libmallard.so") != NULL || (name[0] == 0 && end_before != 0 && begin == end_before);
    end_before = is_its ? end : 0;
    if (is_its) bytes += end - begin;
  }
  return bytes / 1024;
}

int main(int count, char** words) {
  void* last = NULL;
  unsigned long got = 0;
  const unsigned long library = size_of_library();
  for (void** block; (block = malloc(kBlock)); got += kBlock) {
    *block = last;
    last = block;
  }
  while (count > 1 && last) {
    void* next = *(void**)last;
    free(last);
    last = next;
  }
  if (count > 1) {
    for (int i = 0; i < 100000; i++) {
      void* block = malloc(100 + i % 5000);
      CHECK(block, "malloc after all was freed");
      free(block);
    }
    raise(SIGUSR2);
    CHECK(wait_for_reports(1) == 1, "no report of %s", words[0]);
  }
  printf("%lu %lu\n", got / 1024, library);
  return 0;
}
