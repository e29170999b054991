// SPDX-License-Identifier: Apache-2.0
// Forks children one by one and signals each at once; a child waits for its own report
// (test_children.py has the expectation).
#include <signal.h>
#include <sys/wait.h>
#include "reports.h"

int main(int count, char** words) {
  int children = count > 1 ? atoi(words[1]) : 10, silent = 0;
  void* block = malloc(3000000);
  memset(block, 1, 3000000);
  for (int i = 0; i < children; i++) {
    pid_t child = fork();
    if (child == 0) {
      _exit(wait_for_reports(1) < 1);
    }
    kill(child, SIGUSR2);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status), "child %d: status %#x", i, status);
    silent += WIFEXITED(status) && WEXITSTATUS(status) != 0;
  }
  CHECK(silent == 0, "%d children waited for their report in vain", silent);
  free(block);
  return check_done();
}
