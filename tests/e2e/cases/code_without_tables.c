// SPDX-License-Identifier: Apache-2.0
// malloc called from code that has no unwind tables (a JIT's), with odd frame pointers: no crash, the
// report says that stacks were cut short.
// BACKENDS: system jemalloc
// ENV: ALLOC_SAMPLE_BYTES=1
// REPORTS: 1
#include <signal.h>
#include <sys/mman.h>
#include "reports.h"

// push rbp; mov rbp, rsi; sub rsp, 16; mov rax, imm64; call rax; add rsp, 16; pop rbp; ret
static const unsigned char kCode[] = {0x55, 0x48, 0x89, 0xf5, 0x48, 0x83, 0xec, 0x10, 0x48, 0xb8, 0, 0, 0, 0,
                                      0,    0,    0,    0,    0xff, 0xd0, 0x48, 0x83, 0xc4, 0x10, 0x5d, 0xc3};

int main(void) {
  unsigned char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(page, kCode, sizeof kCode);
  void* (*target)(size_t) = malloc;
  memcpy(page + 10, &target, 8);
  if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0) {
    puts("ok");  // a system that forbids it has no JITs either
    return 0;
  }
  void* (*compiled)(size_t, uintptr_t) = (void* (*)(size_t, uintptr_t))page;
  const uintptr_t frame_pointers[] = {0, 1, 8, 0x1000, (uintptr_t)page, (uintptr_t)&page, UINTPTR_MAX,
                                      UINTPTR_MAX - 7, (uintptr_t)1 << 47, 0x7fffffffffff, (uintptr_t)&page + 4096};
  void* blocks[100];
  for (int i = 0; i < 100; i++) blocks[i] = compiled(1000, frame_pointers[i % 11]);
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report");
  for (int i = 0; i < 100; i++) free(blocks[i]);
  munmap(page, 4096);
  free(malloc(100));
  return check_done();
}
