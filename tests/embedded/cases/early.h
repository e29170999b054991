// SPDX-License-Identifier: Apache-2.0
// What a program may do while the loader still relocates, before any library's constructor: an IFUNC resolver
// does it. It uses raw system calls and no variable of the executable, unless it allocates.
#include <linux/sched.h>
#include <sys/syscall.h>

static int answer(void) { return 42; }

static inline long system_call(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

#ifdef EARLY_USER
static void* g_early;
static inline void be_early(void) { g_early = malloc(100); }
#endif

#ifdef EARLY_THREAD
// A thread without a stack frame, that sleeps until the process ends.
static inline void be_early(void) {
  long stack =
      system_call(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
  long result;
  __asm__ volatile(
      "syscall\n"
      "test %%eax, %%eax\n"
      "jnz 2f\n"
      "1: mov %[pause], %%eax\n"
      "syscall\n"
      "jmp 1b\n"
      "2:"
      : "=a"(result)
      : "0"((long)SYS_clone), "D"((long)(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)),
        "S"(stack), "d"(0l), [pause] "i"(SYS_pause)
      : "rcx", "r11", "memory");
}
#endif

#ifdef EARLY_CHANGE
// Another tool's hand: an instruction of malloc is not the one in the file. Compiled with
// -fpatchable-function-entry=8, so that it is a nop that becomes another one that does nothing.
static inline void be_early(void) {
  unsigned char* code = (unsigned char*)malloc;
  if (code[0] == 0xf3) code += 4;  // endbr64
  const long page = (long)code & ~4095l;
  system_call(SYS_mprotect, page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, 0);
  *(volatile unsigned char*)code = 0xf8;  // clc
  system_call(SYS_mprotect, page, 8192, PROT_READ | PROT_EXEC, 0, 0, 0);
}
#endif

#ifdef EARLY_FULL
// Takes every free page within 3 GiB of the code.
static inline void be_early(void) {
  const long chunk = 1 << 20, page = 4096, middle = (long)answer & ~(chunk - 1);
  for (long at = middle - (3l << 30); at < middle + (3l << 30); at += chunk) {
    if (at < page) continue;
    const long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    if (system_call(SYS_mmap, at, chunk, PROT_NONE, flags, -1, 0) == at) continue;
    for (long p = at; p < at + chunk; p += page) system_call(SYS_mmap, p, page, PROT_NONE, flags, -1, 0);
  }
}
#endif

static int (*choose(void))(void) {
  be_early();
  return answer;
}
int early_answer(void) __attribute__((ifunc("choose")));
