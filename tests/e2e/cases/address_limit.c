// SPDX-License-Identifier: Apache-2.0
// Under a limit on address space nearly all of it is left to the host, and there is a report all the same.
// BACKENDS: system
// REPORTS: 1
#include <sys/resource.h>
#include "reports.h"

enum { kLimit = 256, kLeft = 215 };  // MiB; the program, its libraries and mallard's own code take 25

int main(int count, char** words) {
  if (count == 1) {
    struct rlimit limit = {(rlim_t)kLimit << 20, (rlim_t)kLimit << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    execl("/proc/self/exe", words[0], "limited", (char*)NULL);
    return 9;
  }
  static void* blocks[kLimit];
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  while (count_threads() > 1) pause_ms(1);
  int got = 0;
  while (got < kLimit && (blocks[got] = malloc((1 << 20) - 5000))) got++;
  CHECK(got >= kLeft, "only %d of %d MiB are left", got, kLimit);
  for (int i = 0; i < got; i++) free(blocks[i]);
  return check_done();
}
