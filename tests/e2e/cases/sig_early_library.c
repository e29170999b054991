// SPDX-License-Identifier: Apache-2.0
// Installs a handler of SIGUSR2 in its constructor, before main.
#include <signal.h>
#include <stddef.h>

volatile sig_atomic_t early_runs;
static void handler(int number) { early_runs += number == SIGUSR2; }

__attribute__((constructor)) static void install(void) {
  struct sigaction mine = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(SIGUSR2, &mine, NULL);
}
