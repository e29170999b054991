// SPDX-License-Identifier: Apache-2.0
#include "cli/held_signals.hpp"

#include <signal.h>

namespace mallard::cli {
namespace {

sigset_t g_before;
bool g_hold = false;

}  // namespace

void hold_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  g_hold = sigprocmask(SIG_BLOCK, &all, &g_before) == 0;
}

bool release_signals(int signal) noexcept {
  if (!g_hold) return false;
  sigset_t mask = g_before;
  const bool adds = signal != 0 && sigismember(&g_before, signal) == 0;
  if (adds) sigaddset(&mask, signal);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  return adds;
}

}  // namespace mallard::cli
