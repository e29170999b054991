// SPDX-License-Identifier: Apache-2.0
// The host closes every descriptor and opens its own files in their places: mallard must not use, close or
// write to any of them.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=4096
// REPORTS: 2
#include <signal.h>
#include "reports.h"

enum { kFirst = 3, kLast = 200 };

int main(void) {
  void* kept[500];
  for (int i = 0; i < 500; i++) kept[i] = malloc(3000);
  for (int round = 0; round < 2; round++) {
    for (int fd = kFirst; fd < 1024; fd++) close(fd);
    struct stat before[kLast], after;
    for (int fd = kFirst; fd < kLast; fd++) {
      int got = open(fd % 2 ? "/dev/null" : "/dev/zero", O_RDWR);
      CHECK(got == fd, "descriptor %d instead of %d", got, fd);
      fstat(fd, &before[fd]);
    }
    raise(SIGUSR2);
    CHECK(wait_for_reports(round + 1) == round + 1, "%d reports", count_reports());
    for (int i = 0; i < 500; i++) kept[i] = realloc(kept[i], (size_t)(2000 + round * 3000));
    for (int fd = kFirst; fd < kLast; fd++)
      CHECK(fstat(fd, &after) == 0 && after.st_rdev == before[fd].st_rdev, "descriptor %d is another file", fd);
    int next = dup(0);
    CHECK(next == kLast || next < 0, "a descriptor below %d is in use by somebody else: dup gave %d", next, next);
    if (next >= 0) close(next);
  }
  for (int i = 0; i < 500; i++) free(kept[i]);
  return check_done();
}
