// SPDX-License-Identifier: Apache-2.0
// More places in generated code that allocate than any table of addresses has room for, one more whose code
// is unmapped again, and then one function.
// BACKENDS: system
// ENV: ALLOC_SAMPLE_BYTES=1
#include <sys/mman.h>
#include "check.h"

enum { kStubs = 140000, kStubBytes = 32 };
static void* g_kept[kStubs + 2];

__attribute__((noinline)) void* keep_late(size_t bytes) { return opaque_pointer(malloc(bytes)); }

/// Maps memory for code. A page without access keeps the kernel from joining it with a neighbour.
static unsigned char* map_code(size_t bytes) {
  unsigned char* code = mmap(NULL, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(code != MAP_FAILED, "mmap");
  CHECK(mprotect(code + 4096, bytes, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, "mprotect");
  return code + 4096;
}

/// Writes functions that allocate, and calls each once.
static void call_stubs(unsigned char* code, int count, void** kept) {
  for (int i = 0; i < count; i++) {
    // push %rbp; mov %rsp, %rbp; mov $24, %edi; mov $malloc, %rax; call *%rax; pop %rbp; ret
    unsigned char stub[] = {0x55, 0x48, 0x89, 0xe5, 0xbf, 24, 0, 0, 0, 0x48, 0xb8, 0, 0,
                            0,    0,    0,    0,    0,    0,  0xff, 0xd0, 0x5d, 0xc3};
    void* (*function)(size_t) = malloc;
    memcpy(stub + 11, &function, sizeof function);
    memcpy(code + i * kStubBytes, stub, sizeof stub);
    void* (*call)(void);
    unsigned char* entry = code + i * kStubBytes;
    memcpy(&call, &entry, sizeof call);
    kept[i] = call();
  }
}

int main(void) {
  size_t bytes = ((size_t)kStubs * kStubBytes + 4095) & ~(size_t)4095;
  call_stubs(map_code(bytes), kStubs, g_kept);
  unsigned char* gone = map_code(4096);
  call_stubs(gone, 1, g_kept + kStubs);
  CHECK(munmap(gone, 4096) == 0, "munmap");
  g_kept[kStubs + 1] = keep_late(10 << 20);
  return check_done();
}
