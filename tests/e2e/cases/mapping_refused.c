// SPDX-License-Identifier: Apache-2.0
// Is refused mappings by ENOMEM for other reasons than a limit on address space: one that cannot grow where it is, and
// one beyond all addresses. Then is reported.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include "reports.h"

int main(int count, char** words) {
  enum { kPage = 4096 };
  const int how = MAP_PRIVATE | MAP_ANONYMOUS;
  char* two = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, how, -1, 0);
  CHECK(two != MAP_FAILED, "mmap");
  CHECK(mprotect(two + kPage, kPage, PROT_READ) == 0, "mprotect");
  CHECK(mremap(two, kPage, 2 * kPage, 0) == MAP_FAILED && errno == ENOMEM, "mremap grew over its neighbour");
  void* const beyond = (void*)(UINTPTR_MAX / kPage * kPage - kPage);
  CHECK(mmap(beyond, kPage, PROT_READ, how | MAP_FIXED, -1, 0) == MAP_FAILED, "mmap beyond");
  raise(SIGUSR2);
  CHECK(wait_for_reports(1) == 1, "no report of %s", words[count - 1]);
  return 0;
}
