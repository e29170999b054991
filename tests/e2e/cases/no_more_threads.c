// SPDX-License-Identifier: Apache-2.0
// A process that may create no thread: the request ends in one line, and the process goes on.
// BACKENDS: system mimalloc3
// STDERR: mallard: error: no report: the reporter thread cannot be started: the process may create no more threads
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

int main(void) {
  struct rlimit none = {0, 0};
  CHECK(setrlimit(RLIMIT_NPROC, &none) == 0, "setrlimit");
  if (geteuid() == 0) CHECK(setuid(65534) == 0, "setuid");  // root is exempt from the limit
  raise(SIGUSR2);
  for (int i = 0; i < 50; i++) {
    struct timespec pause = {0, 10 * 1000 * 1000};
    nanosleep(&pause, NULL);
    free(malloc(10000));
  }
  return check_done();
}
