// SPDX-License-Identifier: Apache-2.0
// vfork+exec, posix_spawn, system, popen and exec keep the preload and work.
// BACKENDS: all
#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"

extern char** environ;

static int child(void) {
  Dl_info info;
  void* block = malloc(5000);
  fill(block, 5000, 1);
  if (!holds(block, 5000, 1)) return 3;
  free(block);
  if (!getenv("LD_PRELOAD")) return 7;
  return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) && strstr(info.dli_fname, "libmallard") ? 7 : 4;
}

static void expect_7(pid_t pid, const char* how) {
  int status = -1;
  CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "%s: %s", how, strerror(errno));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%s: status %#x", how, status);
}

int main(int count, char** words) {
  if (count > 1) return child();
  char self[4096];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  self[length > 0 ? length : 0] = 0;
  char* arguments[] = {self, "child", NULL};
  for (int i = 0; i < 20; i++) {
    pid_t pid = vfork();
    if (pid == 0) {
      execv(self, arguments);
      _exit(99);
    }
    expect_7(pid, "vfork and exec");
    CHECK(posix_spawn(&pid, self, NULL, NULL, arguments, environ) == 0, "posix_spawn");
    expect_7(pid, "posix_spawn");
    pid = fork();
    if (pid == 0) {
      free(malloc(100));
      execv(self, arguments);
      _exit(99);
    }
    expect_7(pid, "fork and exec");
    free(malloc(1000));
  }
  char command[4200];
  snprintf(command, sizeof command, "'%s' child", self);
  int status = system(command);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "system: status %#x", status);
  FILE* pipe = popen("echo hello", "r");
  char line[100] = "";
  CHECK(pipe && fgets(line, sizeof line, pipe) && strcmp(line, "hello\n") == 0, "popen gave '%s'", line);
  CHECK(pclose(pipe) == 0, "pclose");
  (void)words;
  return check_done();
}
