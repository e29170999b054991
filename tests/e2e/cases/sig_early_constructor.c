// SPDX-License-Identifier: Apache-2.0
// A handler that a linked library's constructor installed is chained.
// BACKENDS: system tcmalloc
// LINK: sig_early_library.c
// REPORTS: 1
#include <signal.h>
#include "reports.h"

extern volatile sig_atomic_t early_runs;

int main(void) {
  signal_from_outside(SIGUSR2);
  CHECK(early_runs == 1, "the early handler ran %d times", (int)early_runs);
  CHECK(wait_for_reports(1) == 1, "%d reports", count_reports());
  return check_done();
}
