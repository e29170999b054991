// SPDX-License-Identifier: Apache-2.0
// dlopen, dlsym (failing, too: its message is allocated) and dlclose many times, in threads as well;
// the library's code goes away while blocks that it allocated live on.
// BACKENDS: all
// BUILD: dlopened_library.cpp
// ENV: ALLOC_SAMPLE_BYTES=1024
// REPORTS: 1
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include "reports.h"

static char* g_blocks[120];

static void* open_and_close(void* first) {
  for (int i = 0; i < 30; i++) {
    void* library = dlopen("dlopened_library.so", i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_LOCAL);
    CHECK(library, "dlopen: %s", dlerror());
    if (!library) break;
    char* (*work)(int) = (char* (*)(int))dlsym(library, "library_work");
    CHECK(work, "dlsym: %s", dlerror());
    g_blocks[(intptr_t)first + i] = work(200);
    CHECK(!dlsym(library, "no_such_symbol") && dlerror(), "dlsym found no_such_symbol");
    CHECK(!dlopen("no_such_library.so", RTLD_NOW) && strstr(dlerror(), "no_such_library"), "dlerror");
    dlclose(library);
  }
  return NULL;
}

int main(void) {
  pthread_t threads[3];
  for (intptr_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, open_and_close, (void*)(i * 30));
  open_and_close((void*)90);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  if (getenv("E2E_DIR")) {
    raise(SIGUSR2);  // the stacks of the unloaded library must not hurt the report
    CHECK(wait_for_reports(1) == 1, "no report");
  }
  for (int i = 0; i < 120; i++) free(g_blocks[i]);
  return check_done();
}
