// SPDX-License-Identifier: Apache-2.0
// A handler that leaves by siglongjmp whatever it interrupted, mmap and munmap among it: later forks, mappings
// and reports do not wait for the interrupted call.
// BACKENDS: system jemalloc
// SECONDS: 60
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

static sigjmp_buf g_home;

static void on_alarm(int unused) {
  (void)unused;
  siglongjmp(g_home, 1);
}

static void* map_some(void) {
  void* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED, "errno %d", errno);
  return p;
}

static void alarms(int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  pthread_sigmask(how, &set, NULL);
}

static void* jump(void* unused) {
  const time_t end = time(NULL) + 3;
  sigsetjmp(g_home, 1);
  alarms(SIG_UNBLOCK);
  while (time(NULL) < end) munmap(map_some(), 4096);
  alarms(SIG_BLOCK);
  return unused;
}

int main(void) {
  alarms(SIG_BLOCK);
  signal(SIGALRM, on_alarm);
  struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, jump, NULL) == 0, "errno %d", errno);
  setitimer(ITIMER_REAL, &often, NULL);
  CHECK(pthread_join(thread, NULL) == 0, "errno %d", errno);
  setitimer(ITIMER_REAL, &never, NULL);
  for (int i = 0; i < 5; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0, "errno %d", errno);
    if (pid == 0) {
      munmap(map_some(), 4096);
      _exit(0);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "errno %d", errno);
  }
  return check_done();
}
