// SPDX-License-Identifier: Apache-2.0
// past_mallard WAY LIBRARY MEGABYTES: the program's own blocks, 16 MB of 200 bytes each, beside blocks of the same
// size that are taken past mallard: "deep" by a library loaded with RTLD_DEEPBIND, "pointer" by a pointer to libc's
// own malloc, "none" not at all.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kBlock = 200, kOwn = 16000000 / kBlock };

static void** g_own;
static void** g_past;

static void keep(void** block, void*** list) {
  memset(block, 1, kBlock);
  *block = *list;
  *list = block;
}

__attribute__((noinline)) static void fill_own(void) {
  for (int i = 0; i < kOwn; i++) keep(malloc(kBlock), &g_own);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int megabytes = atoi(argv[3]);
  fill_own();
  if (strcmp(argv[1], "deep") == 0) {
    void* library = dlopen(argv[2], RTLD_NOW | RTLD_DEEPBIND);
    int (*use)(int) = library ? (int (*)(int))dlsym(library, "use_allocator") : NULL;
    if (!use || use(megabytes)) return 3;
  } else if (strcmp(argv[1], "pointer") == 0) {
    void* (*past)(size_t) = (void* (*)(size_t))dlsym(dlopen("libc.so.6", RTLD_NOW), "malloc");
    if (!past) return 4;
    for (long i = 0; i < ((long)megabytes << 20) / kBlock; i++) keep(past(kBlock), &g_past);
  }
  puts("ready");
  fflush(stdout);
  return getchar() == EOF;
}
