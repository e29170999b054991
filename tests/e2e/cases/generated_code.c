// SPDX-License-Identifier: Apache-2.0
// More places in generated code that allocate than any table of addresses has room for, and then one function.
// BACKENDS: system
// ENV: ALLOC_SAMPLE_BYTES=1
#include <sys/mman.h>
#include "check.h"

enum { kStubs = 140000, kStubBytes = 32 };
static void* g_kept[kStubs + 1];

__attribute__((noinline)) void* keep_late(size_t bytes) { return opaque_pointer(malloc(bytes)); }

int main(void) {
  unsigned char* code = mmap(NULL, (size_t)kStubs * kStubBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(code != MAP_FAILED, "mmap");
  for (int i = 0; i < kStubs; i++) {
    // push %rbp; mov %rsp, %rbp; mov $24, %edi; mov $malloc, %rax; call *%rax; pop %rbp; ret
    unsigned char stub[] = {0x55, 0x48, 0x89, 0xe5, 0xbf, 24, 0, 0, 0, 0x48, 0xb8, 0, 0,
                            0,    0,    0,    0,    0,    0,  0xff, 0xd0, 0x5d, 0xc3};
    void* (*function)(size_t) = malloc;
    memcpy(stub + 11, &function, sizeof function);
    memcpy(code + i * kStubBytes, stub, sizeof stub);
    void* (*call)(void);
    unsigned char* entry = code + i * kStubBytes;
    memcpy(&call, &entry, sizeof call);
    g_kept[i] = call();
  }
  g_kept[kStubs] = keep_late(10 << 20);
  return check_done();
}
