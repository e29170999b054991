// SPDX-License-Identifier: Apache-2.0
// A narrow limit on address space makes the books smaller, the program runs on, and gives its report.
// BACKENDS: system
// REPORTS: 1
// STDERR_NOT: nothing is recorded
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include "reports.h"

int main(int argc, char** argv) {
  if (argc == 1) {
    struct rlimit limit = {48 << 20, 48 << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    execl("/proc/self/exe", argv[0], "limited", (char*)NULL);
    return 1;
  }
  for (int i = 0; i < 1000; i++) {
    void* block = malloc(5000);
    CHECK(block, "malloc");
    free(block);
  }
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  return check_done();
}
