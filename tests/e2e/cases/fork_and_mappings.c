// SPDX-License-Identifier: Apache-2.0
// One thread forks while another allocates blocks that the allocator maps: the mapping log misses none, whatever
// the allocator's own fork handlers do.
// BACKENDS: jemalloc mimalloc2 tcmalloc
// ENV: TCMALLOC_SKIP_SBRK=1
// SECONDS: 60
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "reports.h"

enum { kForks = 200, kLargeBytes = 300000 };

static volatile int g_stop;

static void* keeps_large_blocks(void* nothing) {
  for (int i = 0; i < 20000 && !g_stop; i++) {
    opaque_pointer(malloc(kLargeBytes));
    for (volatile int pause = 0; pause < 3000; pause++) continue;
  }
  return nothing;
}

static long unlogged_mappings(void) {
  char line[8192], path[4096];
  long found = -1;
  DIR* folder = opendir(getenv("E2E_DIR"));
  for (struct dirent* entry; folder && (entry = readdir(folder));) {
    size_t length = strlen(entry->d_name);
    if (length < 5 || strcmp(entry->d_name + length - 5, ".json") != 0) continue;
    snprintf(path, sizeof path, "%s/%s", getenv("E2E_DIR"), entry->d_name);
    FILE* report = fopen(path, "r");
    while (report && fgets(line, sizeof line, report)) {
      const char* field = strstr(line, "\"unlogged_mappings\":");
      if (field) sscanf(field, "\"unlogged_mappings\":%ld", &found);
    }
    if (report) fclose(report);
  }
  if (folder) closedir(folder);
  return found;
}

int main(void) {
  pthread_t other;
  CHECK(pthread_create(&other, NULL, keeps_large_blocks, NULL) == 0, "no thread");
  for (int i = 0; i < kForks; i++) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0, "child %d: status %#x", i, status);
  }
  g_stop = 1;
  pthread_join(other, NULL);
  kill(getpid(), SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  CHECK(unlogged_mappings() == 0, "%ld mappings are not in the log", unlogged_mappings());
  return check_done();
}
