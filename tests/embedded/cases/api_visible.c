// SPDX-License-Identifier: Apache-2.0
// Prints which functions of an allocator's own interface this program would believe to have, by each way in
// which programs ask: weak references (as databases test for jemalloc), dlsym in all, dlsym in the next objects.
// "figures": asks jemalloc how much this thread has allocated before and after a malloc of 10 MB.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEAK(name) extern char name[] __attribute__((weak));
#define EACH(X)                                                                                               \
  X(mallctl) X(mallctlnametomib) X(mallctlbymib) X(mallocx) X(rallocx) X(xallocx) X(sallocx) X(dallocx)       \
  X(sdallocx) X(nallocx) X(malloc_stats_print) X(je_malloc) X(je_mallctl) X(_rjem_malloc) X(mi_version)       \
  X(mi_malloc) X(mi_free) X(mi_collect) X(mi_process_info) X(tc_version) X(tc_malloc)                         \
  X(MallocExtension_GetNumericProperty) X(MallocExtension_ReleaseFreeMemory) X(MallocExtension_Internal_GetNumericProperty)
EACH(WEAK)

int main(int argc, char** argv) {
  free(malloc(10));
#define PRINT(name)                                                   \
  {                                                                   \
    char* volatile weak = name;                                       \
    if (weak) puts("weak " #name);                                    \
    if (dlsym(RTLD_DEFAULT, #name)) puts("default " #name);           \
    if (dlsym(RTLD_NEXT, #name)) puts("next " #name);                 \
  }
  EACH(PRINT)
  if (argc > 1 && !strcmp(argv[1], "figures")) {
    int (*control)(const char*, void*, size_t*, void*, size_t) =
        (int (*)(const char*, void*, size_t*, void*, size_t))dlsym(RTLD_DEFAULT, "mallctl");
    uint64_t before = 0, after = 0;
    size_t size = sizeof before;
    if (!control || control("thread.allocated", &before, &size, NULL, 0)) return 3;
    void* volatile block = malloc(10 << 20);
    if (control("thread.allocated", &after, &size, NULL, 0)) return 4;
    printf("figures %ld\n", (long)((after - before) >> 20));
    free(block);
  }
  puts("ok");
  return 0;
}
