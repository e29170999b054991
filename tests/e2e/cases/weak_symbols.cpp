// SPDX-License-Identifier: Apache-2.0
// A program that probes weakly for an allocator's own API must not see the ones that mallard carries.
// BACKENDS: all
#include <dlfcn.h>
#include "check.h"

extern "C" {
int mallctl(const char*, void*, size_t*, void*, size_t) __attribute__((weak));
void* mallocx(size_t, int) __attribute__((weak));
void sdallocx(void*, size_t, int) __attribute__((weak));
int mi_version(void) __attribute__((weak));
void* mi_malloc(size_t) __attribute__((weak));
void* tc_malloc(size_t) __attribute__((weak));
int unw_backtrace(void**, int) __attribute__((weak));
}

int main() {
  CHECK(!mallctl, "mallctl is visible");
  CHECK(!mallocx, "mallocx is visible");
  CHECK(!sdallocx, "sdallocx is visible");
  CHECK(!mi_version, "mi_version is visible");
  CHECK(!mi_malloc, "mi_malloc is visible");
  CHECK(!tc_malloc, "tc_malloc is visible");
  CHECK(!unw_backtrace, "unw_backtrace is visible");
  const char* const names[] = {"mallctl", "je_mallctl", "mi_version", "mi_heap_new", "tc_version", "unw_step",
                               "MallocExtension_ReleaseFreeMemory", "_Ux86_64_step"};
  for (const char* name : names) CHECK(!dlsym(RTLD_DEFAULT, name), "dlsym finds %s", name);
  void* block = malloc(10);
  free(block);
  return check_done();
}
