// SPDX-License-Identifier: Apache-2.0
// Runs a command, and has one system call of it fail: the Nth of a kind, counted over all its threads and children.
//
//     fail_nth CALL ERRNO N WHERE -- COMMAND...
//
// WHERE is "any", or a part of a path: then only calls from the code of that object count, libmallard.so for one. The
// command's own status is this one's. A line on descriptor $FAIL_NTH_TELL (3) says "PHASE CALLS": in which of the command's phases the
// call failed (what it told by prctl(0x66617573, PHASE); -1: it did not come to that many), and how many there were.
//
// A seccomp filter hands the calls to this process, which answers each: no thread of the command is traced or stopped.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPhaseMark = 0x66617573, kMostRanges = 256 };

struct Call {
  const char* name;
  long numbers[2];
};
static const struct Call kCalls[] = {
    {"mmap", {SYS_mmap, -1}},
    {"mprotect", {SYS_mprotect, -1}},
    {"mremap", {SYS_mremap, -1}},
    {"madvise", {SYS_madvise, -1}},
    {"munmap", {SYS_munmap, -1}},
    {"openat", {SYS_openat, SYS_open}},
    {"read", {SYS_read, SYS_pread64}},
    {"write", {SYS_write, -1}},
    {"clone", {SYS_clone3, SYS_clone}},
    {"process_vm", {SYS_process_vm_writev, SYS_process_vm_readv}},
    {"ioctl", {SYS_ioctl, -1}},
    {"timer_create", {SYS_timer_create, -1}},
    {"unshare", {SYS_unshare, SYS_close_range}},
};

static void die(const char* what) {
  fprintf(stderr, "fail_nth: %s: %s\n", what, strerror(errno));
  _exit(125);
}

static int told_at(void) {
  const char* number = getenv("FAIL_NTH_TELL");
  return number ? atoi(number) : 3;
}

static const struct Call* call_named(const char* name) {
  for (size_t i = 0; i < sizeof kCalls / sizeof kCalls[0]; i++)
    if (strcmp(kCalls[i].name, name) == 0) return &kCalls[i];
  errno = EINVAL;
  die(name);
  return NULL;
}

// Hands the calls, and prctl, to whoever holds the descriptor that this gives.
static int install_filter(const struct Call* call) {
  const uint32_t second = (uint32_t)(call->numbers[1] < 0 ? call->numbers[0] : call->numbers[1]);
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call->numbers[0], 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
  struct sock_fprog filter = {sizeof code / sizeof code[0], code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("no_new_privs");
  long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
  if (fd < 0) die("seccomp");
  return (int)fd;
}

static void send_descriptor(int to, int fd) {
  char byte = 0, space[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  if (sendmsg(to, &message, 0) != 1) die("sendmsg");
}

static int receive_descriptor(int from) {
  int fd;
  char byte, space[CMSG_SPACE(sizeof fd)];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (!head) return -1;
  memcpy(&fd, CMSG_DATA(head), sizeof fd);
  return fd;
}

static struct {
  uint64_t begin, end;
} g_ranges[kMostRanges];
static int g_count;
static uint32_t g_ranges_of;

static void read_ranges(uint32_t pid, const char* where) {
  char path[64], line[4096];
  g_count = 0;
  g_ranges_of = pid;
  snprintf(path, sizeof path, "/proc/%u/maps", pid);
  FILE* maps = fopen(path, "re");
  if (!maps) return;
  while (g_count < kMostRanges && fgets(line, sizeof line, maps)) {
    char flags[5];
    if (sscanf(line, "%lx-%lx %4s", &g_ranges[g_count].begin, &g_ranges[g_count].end, flags) == 3 &&
        flags[2] == 'x' && strstr(line, where))
      g_count++;
  }
  fclose(maps);
}

static int in_ranges(uint64_t pc) {
  for (int i = 0; i < g_count; i++)
    if (pc >= g_ranges[i].begin && pc < g_ranges[i].end) return 1;
  return 0;
}

// A page of the exports is moved while the process runs, and lies in no file then: it is looked for anew where nothing is found.
static int comes_from(const struct seccomp_notif* request, const char* where) {
  if (strcmp(where, "any") == 0) return 1;
  if (g_ranges_of != request->pid || g_count == 0) read_ranges(request->pid, where);
  return in_ranges(request->data.instruction_pointer);
}

static void serve(int listener, int error, long nth, const char* where) {
  struct seccomp_notif_sizes sizes;
  if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) die("sizes");
  struct seccomp_notif* request = calloc(1, sizes.seccomp_notif + sizeof *request);
  struct seccomp_notif_resp* answer = calloc(1, sizes.seccomp_notif_resp + sizeof *answer);
  long phase = 0, failed_in = -1, calls = 0;
  for (;;) {
    struct pollfd wait = {listener, POLLIN, 0};
    if (poll(&wait, 1, -1) < 0 && errno != EINTR) break;
    if (!(wait.revents & POLLIN)) {
      if (wait.revents & POLLHUP) break;  // the last process under the filter has ended
      continue;
    }
    memset(request, 0, sizes.seccomp_notif);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request) != 0) continue;
    memset(answer, 0, sizes.seccomp_notif_resp);
    answer->id = request->id;
    answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (request->data.nr == SYS_prctl) {
      if (request->data.args[0] == kPhaseMark) phase = (long)request->data.args[1];
    } else if (comes_from(request, where) && ++calls == nth) {
      failed_in = phase;
      answer->flags = 0;
      answer->error = -error;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, answer);
  }
  dprintf(told_at(), "%ld %ld\n", failed_in, calls);
}

int main(int count, char** words) {
  if (count < 7 || strcmp(words[5], "--") != 0) {
    fprintf(stderr, "usage: fail_nth CALL ERRNO N any|OBJECT -- COMMAND...\n");
    return 125;
  }
  const struct Call* call = call_named(words[1]);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) die("socketpair");
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    int listener = install_filter(call);
    send_descriptor(ends[1], listener);
    close(listener);
    close(told_at());
    execvp(words[6], words + 6);
    die(words[6]);
  }
  close(ends[1]);
  int listener = receive_descriptor(ends[0]);
  if (listener >= 0) serve(listener, atoi(words[2]), atol(words[3]), words[4]);
  int status;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status);
}
