// SPDX-License-Identifier: Apache-2.0
// mlockall of an ordinary user, whose limit the host's own memory does not reach, succeeds; of one whose limit it does, it
// fails as without mallard. Tables of mallard's are not brought into memory.
// BACKENDS: system
// ENV: ALLOC_MODE=exact
// REPORTS: 1
#include <sys/mman.h>
#include <sys/resource.h>
#include "reports.h"

static long status_kib(const char* name) {
  char line[256];
  long kib = -1;
  FILE* file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0) kib = atol(line + strlen(name));
  if (file) fclose(file);
  return kib;
}

// What few may raise.
static void limit_to(rlim_t bytes) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0, "getrlimit");
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "setrlimit: %s", strerror(errno));
}

int main(void) {
  void* blocks[1000];
  for (int i = 0; i < 1000; i++) CHECK(blocks[i] = malloc(1000), "malloc");
  limit_to(14 << 20);  // less than the library takes
  raise(SIGUSR2);  // while it may write its report
  CHECK(wait_for_reports(1) == 1, "no report");
  while (count_threads() > 1) pause_ms(1);
  if (geteuid() == 0) CHECK(setuid(65534) == 0, "setuid");
  long before = status_kib("VmRSS:");
  CHECK(mlockall(MCL_CURRENT) == 0, "mlockall: %s", strerror(errno));
  CHECK(status_kib("VmLck:") > 1000, "%ld KiB are locked", status_kib("VmLck:"));
  CHECK(status_kib("VmRSS:") < before + (32 << 10), "memory grows from %ld to %ld KiB", before, status_kib("VmRSS:"));
  CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall for the future: %s", strerror(errno));
  char* later = malloc(1 << 20);
  CHECK(later, "malloc of locked memory");
  free(later);
  CHECK(munlockall() == 0 && status_kib("VmLck:") == 0, "munlockall");
  limit_to(1 << 20);
  errno = 0;
  CHECK(mlockall(MCL_CURRENT) == -1 && errno == ENOMEM, "beyond the limit: %s", strerror(errno));
  CHECK(mlockall(0) == -1 && errno == EINVAL, "no flags: %s", strerror(errno));
  for (int i = 0; i < 1000; i++) free(blocks[i]);
  return check_done();
}
