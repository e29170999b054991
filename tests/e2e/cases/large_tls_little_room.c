// SPDX-License-Identifier: Apache-2.0
// There is no room for a thread with the program's thread-local variables: the message says how much it takes, and once
// there is room there is a report.
// BACKENDS: system
// STDERR: mallard: error: no report: .* may create no more threads, or has no room for its stack of 66[0-9]{3} KiB
#include <signal.h>
#include <sys/resource.h>
#include "reports.h"

static __thread volatile char g_large[64 << 20];

int main(void) {
  g_large[opaque(sizeof g_large - 1)] = 1;
  unsigned long pages = 0;
  FILE* statm = fopen("/proc/self/statm", "r");
  CHECK(statm && fscanf(statm, "%lu", &pages) == 1, "no size");
  const struct rlimit little = {pages * 4096 + (32 << 20), RLIM_INFINITY};
  const struct rlimit enough = {RLIM_INFINITY, RLIM_INFINITY};
  CHECK(setrlimit(RLIMIT_AS, &little) == 0, "setrlimit");
  raise(SIGUSR2);
  for (int i = 0; i < 50; i++) pause_ms(10);
  CHECK(setrlimit(RLIMIT_AS, &enough) == 0, "setrlimit");
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  return check_done();
}
