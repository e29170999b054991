// SPDX-License-Identifier: Apache-2.0
// A handler that the host installs with SA_SIGINFO runs once per signal, gets its siginfo and its mask,
// and the host sees its own handler when it asks. What somebody else sends also gives a report; what the host sends to
// itself is for its handler alone.
// BACKENDS: system jemalloc
// REPORTS: 4
#include <signal.h>
#include "reports.h"

static volatile sig_atomic_t g_runs, g_wrong;

static void handler(int number, siginfo_t* info, void* context) {
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, NULL, &blocked);
  if (number != SIGUSR2 || !info || !context || (info->si_pid == getpid()) != (g_runs >= 4)) g_wrong |= 1;
  if ((g_runs < 4 || g_runs == 5) && info->si_code != SI_USER) g_wrong |= 2;
  if (g_runs == 4 && (info->si_code != SI_QUEUE || info->si_value.sival_int != 4711)) g_wrong |= 4;
  if (!sigismember(&blocked, SIGUSR1) || !sigismember(&blocked, SIGUSR2)) g_wrong |= 8;
  if (sigismember(&blocked, SIGTERM)) g_wrong |= 16;
  errno = 99;
  g_runs++;
}

int main(void) {
  struct sigaction mine = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART}, old;
  sigemptyset(&mine.sa_mask);
  sigaddset(&mine.sa_mask, SIGUSR1);
  memset(&old, 0xff, sizeof old);
  CHECK(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_handler == SIG_DFL, "before: %p instead of SIG_DFL",
        (void*)(uintptr_t)old.sa_handler);
  memset(&old, 0xff, sizeof old);
  CHECK(sigaction(SIGUSR2, &mine, &old) == 0 && old.sa_handler == SIG_DFL, "old handler is %p",
        (void*)(uintptr_t)old.sa_handler);
  CHECK(sigaction(SIGUSR2, NULL, &old) == 0 && old.sa_sigaction == handler, "the host does not see its handler");
  CHECK((old.sa_flags & SA_SIGINFO) && (old.sa_flags & SA_RESTART) && sigismember(&old.sa_mask, SIGUSR1) &&
            !sigismember(&old.sa_mask, SIGTERM), "the host does not see its flags and mask (%#x)", old.sa_flags);
  for (int i = 1; i <= 4; i++) {
    signal_from_outside(SIGUSR2);
    CHECK(g_runs == i, "after signal %d the handler has run %d times", i, (int)g_runs);
    CHECK(wait_for_reports(i) == i, "%d reports after signal %d", count_reports(), i);
  }
  sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 4711});
  kill(getpid(), SIGUSR2);
  raise(SIGUSR2);
  CHECK(g_runs == 7, "the host's own signals ran the handler %d times", (int)g_runs - 4);
  CHECK(g_wrong == 0, "the handler saw something wrong (%#x)", (unsigned)g_wrong);
  return check_done();
}
