// SPDX-License-Identifier: Apache-2.0
// Closes descriptor 2 and opens the data file of its argument in that place (test_report_files.py).
#include <fcntl.h>
#include <unistd.h>
#include "check.h"

int main(int count, char** words) {
  if (count < 2) return 5;
  close(2);
  int file = open(words[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(file == 2, "the data file has descriptor %d", file);
  CHECK(write(file, "data\n", 5) == 5, "write");
  puts("ready");
  fflush(stdout);
  char text[10];
  while (read(0, text, sizeof text) < 0 && errno == EINTR) {
  }
  return check_done();
}
