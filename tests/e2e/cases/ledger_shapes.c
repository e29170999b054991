// SPDX-License-Identifier: Apache-2.0
// A process of an uncommon shape that knows what it holds: "READY LIVE MAPPED FREED", bytes of blocks, of
// memory that it mapped itself and keeps, and of memory that it mapped and gave back lazily. ledger_shapes
// HOW SHAPE; HOW is open, old (a kernel before Linux 6.7, without PAGEMAP_SCAN), nobody (a daemon that has
// dropped its privileges) or locked (such a daemon under a filter of system calls).
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kPage = 4096, kMiB = 1 << 20, kMappings = 20000 };
static const int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

char never_touched[64 << 20];  // .bss that a view of this program's code must not be given
static size_t live, mapped, freed;
static void* blocks[64];

static void fail(const char* what) {
  perror(what);
  _exit(77);
}

static void allocate(int mebibytes) {
  for (int i = 0; i < mebibytes; ++i) {
    static int count;
    blocks[count] = malloc(kMiB);
    memset(blocks[count++], i + 1, kMiB);
    live += kMiB;
  }
}

static char* map(size_t bytes, int rights) {
  char* p = mmap(NULL, bytes, rights, kPrivate, -1, 0);
  if (p == MAP_FAILED) fail("mmap");
  madvise(p, bytes, MADV_NOHUGEPAGE);
  return p;
}

/// 8 TiB of nothing, as MariaDB and Java reserve, and 64 GiB with 50 MiB somewhere in them.
static void reserve(void) {
  map((size_t)8 << 40, PROT_NONE);
  const size_t bytes = (size_t)64 << 30;
  char* cage = map(bytes, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 800; ++i, mapped += 16 * kPage)
    memset(cage + bytes / 2 + i * (size_t)(4 << 20), 1, 16 * kPage);
  allocate(20);
}

/// What V8 does with its built-in functions: a page of the own code a second time, in front of much room.
static void view(void) {
  const size_t bytes = sizeof never_touched;
  char* room = map(bytes, PROT_NONE);
  const uintptr_t page = (uintptr_t)&view & ~(uintptr_t)(kPage - 1);
  unsigned long begin, end, offset, found = 0;
  char rights[8], line[4096];
  FILE* maps = fopen("/proc/self/maps", "r");
  while (maps && fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx %7s %lx", &begin, &end, rights, &offset) == 4 && page >= begin && page < end)
      found = offset + (page - begin);
  if (maps) fclose(maps);
  const int fd = open("/proc/self/exe", O_RDONLY);
  const int flags = MAP_PRIVATE | MAP_FIXED;
  if (mmap(room, kPage, PROT_READ | PROT_EXEC, flags, fd, (off_t)found) == MAP_FAILED) fail("view");
  close(fd);
  munmap(room + kPage, bytes - kPage);
  allocate(60);
}

/// Memory of the program break beside that of malloc, in steps that end within pages.
static void move_break(void) {
  for (int i = 0; i < 4; ++i) {
    allocate(5);
    for (int j = 0; j < 100; ++j) {
      void* small = malloc(1000);
      memset(small, 1, 1000);
      live += 1000;
    }
    for (int j = 0; j < 10; ++j) {
      const size_t bytes = kMiB + 100;
      char* p = sbrk((intptr_t)bytes);
      if (p == (char*)-1) fail("sbrk");
      memset(p, 1, bytes);
      mapped += bytes;
    }
  }
}

static void map_often(void) {
  char* p = map((size_t)2 * kPage * kMappings, PROT_READ | PROT_WRITE);
  for (size_t i = 0; i < kMappings; ++i, mapped += kPage) {
    p[2 * i * kPage] = 1;
    if (mprotect(p + (2 * i + 1) * kPage, kPage, PROT_NONE) != 0) fail("mprotect");
  }
  allocate(5);
}

/// What runtimes do that call the kernel past libc: one mapping of small pages, most of it given back lazily.
static void free_lazily(void) {
  char* heap = map((size_t)160 * kMiB, PROT_READ | PROT_WRITE);
  memset(heap, 1, (size_t)160 * kMiB);
  if (syscall(SYS_madvise, heap, (size_t)150 * kMiB, MADV_FREE) != 0) fail("madvise");
  mapped += 10 * kMiB;
  freed += (size_t)150 * kMiB;
  allocate(5);
}

static void forget_the_scan(void) {
  struct {
    unsigned long long words[12];
  } request;
  (void)request;
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)_IOWR('f', 16, request), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    fail("seccomp");
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int locked = strcmp(argv[1], "locked") == 0;
  if (strcmp(argv[1], "old") == 0 || locked) forget_the_scan();
  if ((strcmp(argv[1], "nobody") == 0 || locked) && (setgid(65534) != 0 || setuid(65534) != 0))
    fail("setuid");
  if (strcmp(argv[2], "reserved") == 0) reserve();
  if (strcmp(argv[2], "view") == 0) view();
  if (strcmp(argv[2], "break") == 0) move_break();
  if (strcmp(argv[2], "mappings") == 0) map_often();
  if (strcmp(argv[2], "lazy") == 0) free_lazily();
  printf("READY %zu %zu %zu\n", live, mapped, freed);
  fflush(stdout);
  while (never_touched[argc] == 0) pause();  // a request ends one
  return 0;
}
