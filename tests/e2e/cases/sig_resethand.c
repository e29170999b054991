// SPDX-License-Identifier: Apache-2.0
// SA_RESETHAND: the host's handler runs once, then the host sees SIG_DFL; SA_NODEFER and SA_RESETHAND
// of the host do not take the report away.
// BACKENDS: system
// REPORTS: 2
#include <signal.h>
#include "reports.h"

static volatile sig_atomic_t g_runs;
static void handler(int number) { g_runs += number == SIGUSR2; }

int main(void) {
  struct sigaction mine = {.sa_handler = handler, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)}, old;
  sigaction(SIGUSR2, &mine, NULL);
  signal_from_outside(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "%d reports", count_reports());
  CHECK(g_runs == 1, "the handler ran %d times", (int)g_runs);
  CHECK(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == SIG_DFL, "the host still sees its handler");
  signal_from_outside(SIGUSR2);
  CHECK(wait_for_reports(2) == 2, "%d reports", count_reports());
  CHECK(g_runs == 1, "the handler ran %d times in all", (int)g_runs);
  return check_done();
}
