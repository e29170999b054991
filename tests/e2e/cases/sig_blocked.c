// SPDX-License-Identifier: Apache-2.0
// The signal hits threads that wait in read, epoll_wait, a futex, a condition and pthread_join: reports
// come, interrupted calls restart (epoll_wait never does: it may say EINTR), everything goes on.
// BACKENDS: system mimalloc2
// REPORTS: 5
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include "reports.h"

static int g_pipe[2], g_other_pipe[2], g_futex;
static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_condition = PTHREAD_COND_INITIALIZER;
static int g_go;
static pthread_t g_threads[5];

static void* in_read(void* unused) {
  char byte;
  ssize_t got = read(g_pipe[0], &byte, 1);
  CHECK(got == 1, "read gives %zd: %s", got, strerror(errno));
  return unused;
}

static void* in_epoll(void* unused) {
  int set = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(set, EPOLL_CTL_ADD, g_other_pipe[0], &event);
  int got;
  while ((got = epoll_wait(set, &event, 1, -1)) < 0 && errno == EINTR) {
  }
  CHECK(got == 1, "epoll_wait gives %d: %s", got, strerror(errno));
  close(set);
  return unused;
}

static void* in_futex(void* unused) {
  while (__atomic_load_n(&g_futex, __ATOMIC_SEQ_CST) == 0) {
    long result = syscall(SYS_futex, &g_futex, FUTEX_WAIT, 0, NULL, NULL, 0);
    CHECK(result == 0 || errno == EAGAIN, "futex gives %ld: %s", result, strerror(errno));
  }
  return unused;
}

static void* in_condition(void* unused) {
  pthread_mutex_lock(&g_mutex);
  while (!g_go) pthread_cond_wait(&g_condition, &g_mutex);
  pthread_mutex_unlock(&g_mutex);
  return unused;
}

static void* in_join(void* unused) {
  int result = pthread_join(g_threads[0], NULL);
  CHECK(result == 0, "pthread_join gives %d", result);
  return unused;
}

int main(void) {
  if (pipe(g_pipe) != 0 || pipe(g_other_pipe) != 0) return 5;
  void* (*const bodies[5])(void*) = {in_read, in_epoll, in_futex, in_condition, in_join};
  for (int i = 0; i < 5; i++) pthread_create(&g_threads[i], NULL, bodies[i], NULL);
  pause_ms(50);
  for (int i = 0; i < 5; i++) {
    pthread_kill(g_threads[i], SIGUSR2);
    CHECK(wait_for_reports(i + 1) == i + 1, "%d reports after signal %d", count_reports(), i + 1);
  }
  CHECK(write(g_pipe[1], "x", 1) == 1 && write(g_other_pipe[1], "x", 1) == 1, "write");
  __atomic_store_n(&g_futex, 1, __ATOMIC_SEQ_CST);
  syscall(SYS_futex, &g_futex, FUTEX_WAKE, 100, NULL, NULL, 0);
  pthread_mutex_lock(&g_mutex);
  g_go = 1;
  pthread_cond_broadcast(&g_condition);
  pthread_mutex_unlock(&g_mutex);
  for (int i = 1; i < 5; i++) pthread_join(g_threads[i], NULL);
  return check_done();
}
