// SPDX-License-Identifier: Apache-2.0
// cfree: no header declares it any more and the linker no longer finds it, but old binaries call it.
// BACKENDS: all
#include <dlfcn.h>
#include "check.h"

int main(void) {
  void (*release)(void*) = (void (*)(void*))dlsym(RTLD_DEFAULT, "cfree");
  if (!release) release = (void (*)(void*))dlvsym(RTLD_DEFAULT, "cfree", "GLIBC_2.2.5");
  CHECK(release, "no cfree");
  if (!release) return check_done();
  Dl_info info;
  CHECK(!getenv("LD_PRELOAD") || (dladdr((void*)release, &info) && strstr(info.dli_fname, "libmallard")),
        "cfree is not ours");
  release(NULL);
  for (int i = 0; i < 100000; i++) release(malloc(kSizes[i % 50]));
  return check_done();
}
