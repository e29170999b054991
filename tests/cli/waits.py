# SPDX-License-Identifier: Apache-2.0
"""A program that waits 2 s in a call of one kind and prints the call's result, errno, and whether it ended early. Where only
an alarm ends the call, EINTR is the end of it."""
SOURCE = r"""
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
enum { kSeconds = 2 };
static int ends[2], pair[2];
static const struct timespec wait_for = {kSeconds, 0};
static void on_alarm(int number) { (void)number; }
static struct timespec deadline(void) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_sec += kSeconds;
  return at;
}
static void later(void (*act)(void)) {
  if (fork() != 0) return;
  usleep(kSeconds * 1000000);
  act();
  _exit(0);
}
static void write_one(void) { if (write(ends[1], "x", 1) != 1 || write(pair[1], "x", 1) != 1) _exit(1); }
static void nothing(void) {}
static void drain(void) {
  char some[4096];
  close(ends[1]);
  while (read(ends[0], some, sizeof some) > 0) {}
}
static void limit(int socket) {
  struct timeval seconds = {kSeconds, 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &seconds, sizeof seconds);
}
static int as_result(int error) { errno = error; return error ? -1 : 0; }
static long wait_in(const char* kind) {
  char byte;
  if (!strcmp(kind, "sleep")) return sleep(kSeconds);
  if (!strcmp(kind, "usleep")) return usleep(kSeconds * 1000000);
  if (!strcmp(kind, "nanosleep")) return nanosleep(&wait_for, NULL);
  if (!strcmp(kind, "clock_nanosleep")) return as_result(clock_nanosleep(CLOCK_MONOTONIC, 0, &wait_for, NULL));
  if (!strcmp(kind, "poll")) { struct pollfd one = {ends[0], POLLIN, 0}; return poll(&one, 1, kSeconds * 1000); }
  if (!strcmp(kind, "select")) {
    struct timeval seconds = {kSeconds, 0};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    return select(ends[0] + 1, &set, NULL, NULL, &seconds);
  }
  if (!strcmp(kind, "epoll_wait")) {
    struct epoll_event event = {EPOLLIN, {0}}, out;
    int set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event);
    return epoll_wait(set, &out, 1, kSeconds * 1000);
  }
  if (!strncmp(kind, "sem_", 4)) {
    sem_t semaphore;
    struct timespec until = deadline();
    sem_init(&semaphore, 0, 0);
    if (kind[4] == 't') return sem_timedwait(&semaphore, &until);
    alarm(kSeconds);
    return sem_wait(&semaphore);
  }
  if (!strcmp(kind, "cond_timedwait")) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    struct timespec until = deadline();
    pthread_mutex_lock(&mutex);
    return as_result(pthread_cond_timedwait(&condition, &mutex, &until));
  }
  if (!strcmp(kind, "read")) { later(write_one); return read(ends[0], &byte, 1); }
  if (!strcmp(kind, "recv")) { later(write_one); return recv(pair[0], &byte, 1, 0); }
  if (!strcmp(kind, "recv_timeout")) { limit(pair[0]); return recv(pair[0], &byte, 1, 0); }
  if (!strcmp(kind, "accept_timeout")) {
    struct sockaddr_un address = {AF_UNIX, ""};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr*)&address, sizeof(sa_family_t));
    listen(listener, 1);
    limit(listener);
    return accept(listener, NULL, NULL);
  }
  if (!strcmp(kind, "wait")) { later(nothing); return wait(NULL) > 0; }
  if (!strcmp(kind, "msgrcv")) {
    struct { long type; char text[8]; } message;
    int queue = msgget(IPC_PRIVATE, 0600);
    alarm(kSeconds);
    long result = msgrcv(queue, &message, sizeof message.text, 0, 0);
    int error = errno;
    msgctl(queue, IPC_RMID, NULL);
    errno = error;
    return result;
  }
  if (!strcmp(kind, "semtimedop")) {
    struct sembuf down = {0, -1, 0};
    int set = semget(IPC_PRIVATE, 1, 0600);
    long result = semtimedop(set, &down, 1, &wait_for);
    int error = errno;
    semctl(set, 0, IPC_RMID);
    errno = error;
    return result;
  }
  sigset_t signals;
  sigemptyset(&signals);
  if (!strcmp(kind, "pause")) { alarm(kSeconds); return pause(); }
  if (!strcmp(kind, "sigsuspend")) { alarm(kSeconds); return sigsuspend(&signals); }
  if (!strcmp(kind, "sigtimedwait")) {
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    return sigtimedwait(&signals, NULL, &wait_for);
  }
  if (!strcmp(kind, "write")) {
    static char much[1 << 20];
    later(drain);
    close(ends[0]);
    return write(ends[1], much, sizeof much);
  }
  return -2;
}
int main(int argc, char** argv) {
  struct sigaction action = {0};
  struct timespec began, ended;
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, NULL);
  if (argc < 2 || pipe(ends) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 2;
  puts("up");
  fflush(stdout);
  clock_gettime(CLOCK_MONOTONIC, &began);
  errno = 0;
  long result = wait_in(argv[1]);
  int error = errno;
  clock_gettime(CLOCK_MONOTONIC, &ended);
  double took = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
  printf("%ld %d %s\n", result, error, took < kSeconds - 0.05 ? "EARLY" : "in time");
  return 0;
}
"""
KINDS = ("sleep", "usleep", "nanosleep", "clock_nanosleep", "poll", "select", "epoll_wait", "sem_wait", "sem_timedwait",
         "cond_timedwait", "read", "recv", "recv_timeout", "accept_timeout", "wait", "msgrcv", "semtimedop", "pause",
         "sigsuspend", "sigtimedwait", "write")
