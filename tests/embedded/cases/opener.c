// SPDX-License-Identifier: Apache-2.0
// opener LIBRARY MEGABYTES [deep]: loads a library, with RTLD_DEEPBIND if asked, and lets it allocate.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  void* library = dlopen(argv[1], RTLD_NOW | (argc > 3 ? RTLD_DEEPBIND : 0));
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 3;
  int (*use)(int) = (int (*)(int))dlsym(library, "use_allocator");
  if (!use || use(atoi(argv[2]))) return 4;
  free(malloc(10));
  puts("ready");
  fflush(stdout);
  return getchar() == EOF;
}
