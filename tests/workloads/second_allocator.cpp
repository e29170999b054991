// SPDX-License-Identifier: Apache-2.0
// second_allocator MEGABYTES SEED [OBJECT FUNCTION]: most of the program's memory does not come from malloc,
// but from an allocator of its own on mmap, or from FUNCTION of a shared object that it loads.
#include <dlfcn.h>

#include <utility>

#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(site_ordinary, malloc(size))

namespace {

/// Blocks of 64 to 1024 bytes out of regions of 4 MiB.
class OwnAllocator {
 public:
  void* take(std::size_t bytes) {
    bytes = (bytes + 63) & ~std::size_t{63};
    if (left_ < bytes) {
      at_ = static_cast<char*>(map_memory(left_ = kRegion, MAP_PRIVATE | MAP_ANONYMOUS));
    }
    left_ -= bytes;
    return std::exchange(at_, at_ + bytes);
  }

 private:
  static constexpr std::size_t kRegion = 4 << 20;
  char* at_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 200) * kMega;
  Random random(argument(count, words, 2, 1));
  void* (*loaded)(std::size_t) = nullptr;
  if (count > 4) {
    void* object = dlopen(words[3], RTLD_NOW | RTLD_LOCAL);
    if (object) loaded = reinterpret_cast<void* (*)(std::size_t)>(dlsym(object, words[4]));
    if (!loaded) {
      fprintf(stderr, "%s\n", dlerror());
      return 3;
    }
  }
  OwnAllocator own;
  std::uint64_t second = 0;
  while (second < bytes) {
    const std::size_t size = random.between(64, 1024);
    touch(loaded ? loaded(size) : own.take(size), size);
    second += size;
    if (random.below(8) == 0) touch(site_ordinary(size), size);
  }
  Truth truth;
  truth.cause("anonymous", second, bytes / 8,
              loaded ? words[3] : "second_allocator");  // rounding, and its own books
  truth.verdict("second_allocator");
  truth.rss();
  ask_for_report();
  truth.print();
}
