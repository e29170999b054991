// SPDX-License-Identifier: Apache-2.0
// A C++ program with jemalloc linked in statically: new, malloc, mallocx and aligned blocks cross freely. At
// its end it asks jemalloc how much it has allocated in its life.
#include <jemalloc/jemalloc.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

struct alignas(128) Wide {
  char bytes[256];
};

unsigned long work(unsigned seed) {
  std::map<std::string, std::vector<int>> table;
  unsigned long x = seed, sum = 0;
  for (int i = 0; i < 3000; ++i) {
    x = x * 6364136223846793005ul + 1442695040888963407ul;
    table["key " + std::to_string(x >> 52)].push_back(i);
  }
  for (const auto& [key, list] : table) sum += key.size() * list.size();
  for (int i = 0; i < 500; ++i) {
    auto wide = std::make_unique<Wide>();
    if (reinterpret_cast<unsigned long>(wide.get()) % 128) std::abort();
    void* zero = mallocx(1000, MALLOCX_ZERO | MALLOCX_ALIGN(256));
    if (reinterpret_cast<unsigned long>(zero) % 256 || static_cast<char*>(zero)[999]) std::abort();
    zero = rallocx(zero, 5000, MALLOCX_ZERO);
    if (static_cast<char*>(zero)[4999]) std::abort();
    if (sallocx(zero, 0) < 5000 || nallocx(5000, 0) > sallocx(zero, 0)) std::abort();
    if (xallocx(zero, 5000, 0, 0) < 5000) std::abort();
    std::memset(zero, 7, 5000);
    if (i % 3 == 0) sdallocx(zero, 5000, 0);
    else if (i % 3 == 1) dallocx(zero, 0);
    else std::free(zero);
    char* text = strdup("text");
    sum += std::strlen(text);
    std::free(text);
  }
  return sum;
}

unsigned long resident_bytes() {
  unsigned long pages = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file || std::fscanf(file, "%lu %lu", &pages, &resident) != 2) std::abort();
  std::fclose(file);
  return resident * 4096;
}

// Large zeroed blocks are fresh from the kernel, which knows that they are zero. \return how much of them is in
// memory nevertheless
unsigned long resident_zeroes() {
  constexpr std::size_t kBytes = 256ul << 20;
  unsigned long most = 0;
  for (const int flags : {MALLOCX_ZERO, MALLOCX_ZERO | MALLOCX_ALIGN(64), MALLOCX_ZERO | MALLOCX_ALIGN(65536)}) {
    const unsigned long before = resident_bytes();
    void* zero = mallocx(kBytes, flags);
    const unsigned long after = resident_bytes();
    if (!zero || static_cast<char*>(zero)[kBytes / 2]) std::abort();
    if (after > before && after - before > most) most = after - before;
    dallocx(zero, 0);
  }
  return most;
}

}  // namespace

int main() {
  unsigned long sums[3] = {};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 3; ++i) threads.emplace_back([&sums, i] { sums[i] = work(i + 1); });
  for (auto& t : threads) t.join();
  std::fprintf(stderr, "zeroed blocks take %lu bytes\n", resident_zeroes());
  unsigned long epoch = 1, allocated = 0;
  std::size_t size = sizeof allocated;
  mallctl("epoch", nullptr, nullptr, &epoch, sizeof epoch);
  mallctl("stats.allocated", &allocated, &size, nullptr, 0);
  std::fprintf(stderr, "jemalloc has %lu bytes\n", allocated);
  std::printf("sum %lu\nok\n", sums[0] + sums[1] + sums[2]);
}
