// SPDX-License-Identifier: Apache-2.0
// A limit on address space that leaves no room for the books: said in one line, the program runs on.
// BACKENDS: system jemalloc
// ENV: ALLOC_VERBOSE=1
// STDERR: mallard: warning: no address space for the books .ulimit -v.; nothing is recorded, the process goes on
#include <sys/resource.h>
#include <unistd.h>
#include "check.h"

int main(int argc, char** argv) {
  if (argc == 1) {
    struct rlimit limit = {48 << 20, 48 << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    execl("/proc/self/exe", argv[0], "limited", (char*)NULL);
    return 1;
  }
  for (int i = 0; i < 1000; i++) {
    void* block = malloc(5000);
    CHECK(block, "malloc");
    free(block);
  }
  return check_done();
}
