// SPDX-License-Identifier: Apache-2.0
// A process that inherits SIG_IGN for the signal sees SIG_IGN, and still gives its report.
// BACKENDS: system
// REPORTS: 1
#include <signal.h>
#include "reports.h"

static void handler(int number) { (void)number; }

int main(int count, char** words) {
  if (count == 1) {
    signal(SIGUSR2, SIG_IGN);
    unsetenv("LD_PRELOAD");  // a process without mallard hands its SIG_IGN on
    execl("/bin/sh", "sh", "-c", "trap '' USR2; LD_PRELOAD=$E2E_LIBRARY exec \"$0\" child", words[0], NULL);
    return 9;
  }
  struct sigaction old;
  CHECK(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == SIG_IGN, "the host does not see SIG_IGN");
  kill(getpid(), SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "%d reports", count_reports());
  CHECK(signal(SIGUSR2, handler) == SIG_IGN, "signal() does not give SIG_IGN back");
  return check_done();
}
