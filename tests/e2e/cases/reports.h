// SPDX-License-Identifier: Apache-2.0
// Waiting, inside a case, for the reports of this process in the folder $E2E_DIR.
#ifndef MALLARD_E2E_REPORTS_H
#define MALLARD_E2E_REPORTS_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

__attribute__((unused)) static void pause_ms(int milliseconds) {
  struct timespec rest = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
  }
}

// A JSON report is complete when it ends in these four characters, which no other part of it has.
static int is_complete(const char* folder, const char* name) {
  char path[4096], tail[4] = "";
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  off_t size = lseek(fd, 0, SEEK_END);
  int complete = size > 4 && pread(fd, tail, 4, size - 4) == 4 && memcmp(tail, "\n]}\n", 4) == 0;
  close(fd);
  return complete;
}

__attribute__((unused)) static int count_reports(void) {
  const char* folder = getenv("E2E_DIR");
  if (!folder) return 0;
  char mine[32];
  snprintf(mine, sizeof mine, ".%d.", (int)getpid());
  int found = 0;
  DIR* listing = opendir(folder);
  if (!listing) return 0;
  for (struct dirent* entry; (entry = readdir(listing));) {
    size_t length = strlen(entry->d_name);
    if (length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0 && strstr(entry->d_name, mine))
      found += is_complete(folder, entry->d_name);
  }
  closedir(listing);
  return found;
}

// Sends the signal as somebody else's `kill`, not as one of the program's own; to this thread, or to the process (0).
__attribute__((unused)) static void signal_thread_from_outside(int number, pid_t thread) {
  // A handler that allocates would meet the locks that an allocator holds while it forks.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t self = getpid(), child = fork();
  if (child != 0) pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (child == 0) _exit(thread ? syscall(SYS_tgkill, self, thread, number) != 0 : kill(self, number) != 0);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
  }
}
__attribute__((unused)) static void signal_from_outside(int number) { signal_thread_from_outside(number, 0); }

// Up to 80 s. Without the test driver there is nothing to wait for.
__attribute__((unused)) static int wait_for_reports(int wanted) {
  if (!getenv("E2E_DIR")) return wanted;
  for (int i = 0; i < 16000 && count_reports() < wanted; i++) pause_ms(5);
  return count_reports();
}

__attribute__((unused)) static int count_threads(void) {
  int found = 0;
  DIR* listing = opendir("/proc/self/task");
  if (!listing) return -1;
  for (struct dirent* entry; (entry = readdir(listing));) found += entry->d_name[0] != '.';
  closedir(listing);
  return found;
}

#endif
