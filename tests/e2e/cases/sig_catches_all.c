// SPDX-License-Identifier: Apache-2.0
// One handler for everything that may end the program, as bash has for its EXIT trap and LLVM for its unfinished files:
// a request is not taken for the end. A signal of the program's own is.
// BACKENDS: system jemalloc
// REPORTS: 2
// EXIT: 9
// STDOUT: ^ended by itself$
#include "reports.h"

static void end(int number) {
  (void)number;
  static const char kText[] = "ended by itself\n";
  _exit(write(1, kText, sizeof kText - 1) < 0 ? 1 : 9);
}

int main(void) {
  static const int kSignals[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
  for (size_t i = 0; i < sizeof kSignals / sizeof *kSignals; i++) signal(kSignals[i], end);
  for (int i = 1; i <= 2; i++) {
    signal_from_outside(SIGUSR2);
    CHECK(wait_for_reports(i) == i, "%d reports after signal %d", count_reports(), i);
  }
  raise(SIGUSR2);
  return check_done();
}
