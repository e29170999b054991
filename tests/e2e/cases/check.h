// SPDX-License-Identifier: Apache-2.0
// What the cases share: CHECK counts and prints, `return check_done();` ends main.
#ifndef MALLARD_E2E_CHECK_H
#define MALLARD_E2E_CHECK_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int check_failures;

#define CHECK(condition, ...)                                     \
  do {                                                            \
    if (!(condition) && check_failures++ < 20) {                  \
      fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      fprintf(stderr, __VA_ARGS__);                               \
      fputc('\n', stderr);                                        \
    }                                                             \
  } while (0)

__attribute__((unused)) static int check_done(void) {
  if (check_failures) {
    fprintf(stderr, "%d checks failed\n", check_failures);
    return 1;
  }
  puts("ok");
  return 0;
}

// A child that ends at once, waited for.
__attribute__((unused)) static void fork_and_wait(void) {
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  if (pid > 0) waitpid(pid, NULL, 0);
}

// Keeps the optimiser from reasoning about sizes and pointers.
__attribute__((unused, noinline, noclone)) static size_t opaque(size_t value) {
  __asm__ volatile("" : "+r"(value));
  return value;
}

__attribute__((unused, noinline, noclone)) static void* opaque_pointer(void* value) {
  __asm__ volatile("" : "+r"(value) : : "memory");
  return value;
}

#define TOO_BIG ((size_t)PTRDIFF_MAX + 1)

// Sizes around every border that an allocator may have.
__attribute__((unused)) static const size_t kSizes[] = {
    0,    1,    2,    7,     8,     9,     15,    16,    17,    24,     31,     32,     33,     40,
    48,   63,   64,   65,    80,    96,    127,   128,   129,   160,    192,    255,    256,    257,
    320,  384,  448,  511,   512,   513,   640,   768,   896,   1000,   1023,   1024,   1025,   1280,
    1536, 1792, 2047, 2048,  2049,  3000,  4000,  4095,  4096,  4097,   5120,   6144,   8191,   8192,
    8193, 12288, 16383, 16384, 16385, 20480, 32767, 32768, 32769, 65535, 65536, 65537, 100000, 131071,
    131072, 131073, 262143, 262144, 262145, 500000, 1048575, 1048576, 1048577, 3000000, 4194304, 33554433};
enum { kSizeCount = sizeof kSizes / sizeof kSizes[0] };

__attribute__((unused)) static void fill(void* block, size_t size, unsigned seed) {
  unsigned char* bytes = (unsigned char*)block;
  for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(seed + i * 31 + (i >> 8) * 7);
}

__attribute__((unused)) static int holds(const void* block, size_t size, unsigned seed) {
  const unsigned char* bytes = (const unsigned char*)block;
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != (unsigned char)(seed + i * 31 + (i >> 8) * 7)) return 0;
  return 1;
}

__attribute__((unused)) static int aligned_to(const void* block, size_t alignment) {
  return ((uintptr_t)block & (alignment - 1)) == 0;
}

// glibc aligns every block of 9 bytes or more to 16; smaller ones, too, but nothing may rely on it.
__attribute__((unused)) static size_t natural_alignment(size_t size) { return size > 8 ? 16 : 8; }

#endif
