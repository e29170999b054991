// SPDX-License-Identifier: Apache-2.0
// A process that may open no descriptor any more: the report that cannot be written is one line, no silence, although the
// kernel does not tell then whether standard error takes one.
// BACKENDS: system
// STDERR: mallard: error: (report .* cannot be written|no report: )
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include "check.h"

int main(void) {
  struct rlimit none = {0, 0};
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0, "setrlimit");
  raise(SIGUSR2);
  for (int i = 0; i < 100; i++) {
    struct timespec pause = {0, 10 * 1000 * 1000};
    nanosleep(&pause, NULL);
    free(malloc(10000));
  }
  return check_done();
}
