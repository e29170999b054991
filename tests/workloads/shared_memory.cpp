// SPDX-License-Identifier: Apache-2.0
// shared_memory MEGABYTES SEED: an anonymous shared mapping and a memfd, each half touched.
#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(site_ordinary, malloc(size))

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 100) * kMega;
  for (std::uint64_t done = 0; done < bytes; done += 1000) touch(site_ordinary(1000), 1000);
  void* anonymous = map_memory(bytes, MAP_SHARED | MAP_ANONYMOUS);
  touch(anonymous, bytes / 2);
  const int file = memfd_create("workload", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) fail("memfd");
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) fail("mmap");
  touch(memory, bytes / 2);
  Truth truth;
  truth.cause("shared", bytes, bytes / 100);
  truth.verdict("shared_memory");
  truth.rss();
  ask_for_report();
  truth.print();
}
