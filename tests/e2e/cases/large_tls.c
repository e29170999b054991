// SPDX-License-Identifier: Apache-2.0
// The program's thread-local variables are larger than the reporter's own stack: it gets the room that they take.
// BACKENDS: system jemalloc
// REPORTS: 1
#include <signal.h>
#include "reports.h"

static __thread volatile char g_large[1 << 20];

int main(void) {
  g_large[opaque(sizeof g_large - 1)] = 1;
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  return check_done();
}
