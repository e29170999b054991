// SPDX-License-Identifier: Apache-2.0
// signal(2): old handlers are given back, the handler runs once per signal, SIG_IGN and SIG_DFL are the
// host's view only: a report comes in any case and the process lives.
// BACKENDS: system jemalloc
// REPORTS: 4
#include <signal.h>
#include "reports.h"

static volatile sig_atomic_t g_runs, g_others;
static void handler(int number) { g_runs += number == SIGUSR2; }
static void other(int number) { g_others += number == SIGUSR2; }

static void send(int reports) {
  signal_from_outside(SIGUSR2);
  CHECK(wait_for_reports(reports) == reports, "%d reports instead of %d", count_reports(), reports);
}

int main(void) {
  CHECK(signal(SIGUSR2, handler) == SIG_DFL, "the first signal() does not give SIG_DFL");
  send(1);
  CHECK(g_runs == 1, "the handler ran %d times", (int)g_runs);
  CHECK(signal(SIGUSR2, other) == handler, "the second signal() does not give the first handler");
  send(2);
  CHECK(g_runs == 1 && g_others == 1, "handlers ran %d and %d times", (int)g_runs, (int)g_others);
  CHECK(signal(SIGUSR2, SIG_IGN) == other, "signal(SIG_IGN) does not give the second handler");
  send(3);
  CHECK(signal(SIGUSR2, SIG_DFL) == SIG_IGN, "signal(SIG_DFL) does not give SIG_IGN");
  send(4);
  CHECK(g_runs == 1 && g_others == 1, "handlers ran %d and %d times at the end", (int)g_runs, (int)g_others);
  CHECK(signal(SIGUSR1, other) == SIG_DFL && raise(SIGUSR1) == 0, "SIGUSR1 is disturbed");
  CHECK(signal(SIGKILL, other) == SIG_ERR && errno == EINVAL, "signal(SIGKILL)");
  CHECK(signal(999, other) == SIG_ERR && errno == EINVAL, "signal(999)");
  return check_done();
}
