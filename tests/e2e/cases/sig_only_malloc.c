// SPDX-License-Identifier: Apache-2.0
// A single thread that does nothing but malloc and free: nearly every signal lands inside the allocator, yet
// the reporter gets started and reports come.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=4096
// REPORTS: 2
#include <signal.h>
#include "reports.h"

int main(void) {
  void* blocks[64] = {0};
  int wanted = getenv("E2E_DIR") ? 2 : 0, asked = 0;
  for (long i = 0; count_reports() < wanted; i++) {
    if (asked <= count_reports()) {
      asked++;
      if (fork() == 0) {  // it sends while the loop below runs, wherever that is
        pause_ms(5);
        kill(getppid(), SIGUSR2);
        _exit(0);
      }
    }
    for (int k = 0; k < 2000000; k++) {
      free(blocks[k & 63]);
      blocks[k & 63] = malloc((size_t)(k * 37 & 2047));
    }
    if (i > 1000) break;
  }
  CHECK(count_reports() == wanted, "%d reports", count_reports());
  for (int k = 0; k < 64; k++) free(blocks[k]);
  return check_done();
}
