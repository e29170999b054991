// SPDX-License-Identifier: Apache-2.0
// atexit handlers, destructors and what comes after them may allocate and free.
// BACKENDS: all
// ENV: ALLOC_AT_EXIT=1
// STDOUT: ok\n(.*\n)*destructor\n
// REPORTS: 1
#include "check.h"

static void* g_kept[100];

static void churn(const char* who) {
  for (int i = 0; i < 100; i++) {
    free(g_kept[i]);
    g_kept[i] = calloc(1, (size_t)(i * 37 % 9000));
  }
  for (int i = 0; i < 100; i += 2) g_kept[i] = realloc(g_kept[i], (size_t)(i * 111 + 1));
  fprintf(stdout, "%s\n", who);
  fflush(stdout);
}

static void first(void) { churn("first"); }
static void second(void) {
  churn("second");
  atexit(first);
}

__attribute__((destructor(101))) static void late(void) { churn("destructor"); }

int main(void) {
  atexit(second);
  atexit(first);
  churn("main");
  return check_done();
}
