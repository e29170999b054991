// SPDX-License-Identifier: Apache-2.0
// An object that is opened with RTLD_DEEPBIND, as PHP opens its extensions, prefers libc's functions to preloaded
// ones: its blocks must be of the same heap as those that the program frees, and the other way round.
// BACKENDS: all
// BUILD: deep_binding_library.c
#include <dlfcn.h>
#include "check.h"

int main(void) {
  void* library = dlopen("deep_binding_library.so", RTLD_NOW | RTLD_DEEPBIND);
  CHECK(library, "dlopen: %s", dlerror());
  if (!library) return check_done();
  char* (*read_line)(void) = (char* (*)(void))dlsym(library, "read_line");
  void (*release)(void*) = (void (*)(void*))dlsym(library, "release");
  for (int i = 0; i < 1000; i++) {
    free(read_line());
    release(malloc(100));
    release(strdup("of libc, for the library"));
  }
  return check_done();
}
