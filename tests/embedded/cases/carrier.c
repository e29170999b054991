// SPDX-License-Identifier: Apache-2.0
// A small allocator under a known allocator's name, as a program or (-DLIBRARY) as a shared object: it maps
// megabytes and fills them. -DRAW: by bare system calls. -DTEXTS: with an allocator's texts instead of its name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef TEXTS
#define SCOPE static
const char* volatile g_texts[] = {"<jemalloc>: Malformed conf string\n",
                                  "5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c"};
#else
#define SCOPE
#endif

SCOPE __attribute__((noinline)) void* rpmalloc(size_t bytes) {
#ifdef RAW
  return (void*)syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
#else
  return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
}

int use_allocator(int megabytes) {
  for (int i = 0; i < megabytes; i++) {
    char* p = rpmalloc(1 << 20);
    if (p == MAP_FAILED) return 1;
    memset(p, 1, 1 << 20);
  }
#ifdef TEXTS
  return g_texts[0][0] != '<';
#else
  return 0;
#endif
}

#ifndef LIBRARY
int main(int argc, char** argv) {
  free(malloc(10));
  if (argc < 2 || use_allocator(atoi(argv[1]))) return 1;
  puts("ready");
  fflush(stdout);
  return getchar() == EOF;
}
#endif
