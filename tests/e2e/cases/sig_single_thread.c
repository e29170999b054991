// SPDX-License-Identifier: Apache-2.0
// A single-threaded process stays single-threaded until it is asked for its first report.
// BACKENDS: all
// REPORTS: 2
#include <signal.h>
#include "reports.h"

int main(void) {
  for (int i = 0; i < 100000; i++) free(malloc((size_t)i % 5000));
  CHECK(count_threads() == 1, "%d threads before the first report", count_threads());
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  CHECK(count_threads() <= 2, "%d threads after the first report", count_threads());
  raise(SIGUSR2);
  CHECK(wait_for_reports(2) == 2, "no second report");
  CHECK(count_threads() <= 2, "%d threads after the second report", count_threads());
  return check_done();
}
