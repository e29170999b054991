// SPDX-License-Identifier: Apache-2.0
// Children that are forked while another thread changes the action of the report signal can change it, too.
// BACKENDS: system
// SECONDS: 60
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "reports.h"

enum { kForks = 300, kPatienceMs = 10000 };

static volatile int g_stop;

static void handler(int number) { (void)number; }

static void* changes_the_action(void* nothing) {
  struct sigaction action = {.sa_handler = handler};
  while (!g_stop) sigaction(SIGUSR2, &action, NULL);
  return nothing;
}

// Whether the child ends; it is killed if it does not, as one that hangs has blocked every other signal.
static int ends(pid_t child) {
  int status = -1;
  for (int ms = 0; ms < kPatienceMs; ms++) {
    if (waitpid(child, &status, WNOHANG) == child) return status == 0;
    pause_ms(1);
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return 0;
}

int main(void) {
  pthread_t other;
  CHECK(pthread_create(&other, NULL, changes_the_action, NULL) == 0, "no thread");
  for (int i = 0; i < kForks && !check_failures; i++) {
    pid_t child = fork();
    if (child == 0) {
      signal(SIGUSR2, SIG_DFL);
      _exit(0);
    }
    CHECK(child > 0 && ends(child), "child %d hangs", i);
  }
  g_stop = 1;
  pthread_join(other, NULL);
  return check_done();
}
