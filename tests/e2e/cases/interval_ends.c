// SPDX-License-Identifier: Apache-2.0
// ALLOC_INTERVAL asks for no more than 1,000 reports, says so once, and leaves the signal to ask for more.
// BACKENDS: system
// ENV: ALLOC_INTERVAL=10ms
// ENV: ALLOC_VERBOSE=1
// STDERR: ALLOC_INTERVAL has asked for 1000 reports, and asks for no more; the signal still does
// SECONDS: 90
#include <signal.h>
#include <time.h>
#include "reports.h"

// Works until no report has come for a second: a process of one thread looks while it runs. Reports coalesce, so there may be
// fewer than were asked for.
static int reports_in_the_end(void) {
  for (int before = -1, now = count_reports(); now != before; now = count_reports()) {
    before = now;
    for (const clock_t end = clock() + CLOCKS_PER_SEC; clock() < end;)
      for (volatile int n = 0; n < 1000000; n++) {
      }
  }
  return count_reports();
}

int main(void) {
  const int at_interval = reports_in_the_end();
  CHECK(at_interval > 100 && at_interval <= 1000, "%d reports", at_interval);
  raise(SIGUSR2);
  CHECK(wait_for_reports(at_interval + 1) == at_interval + 1, "the signal gave none");
  return check_done();
}
