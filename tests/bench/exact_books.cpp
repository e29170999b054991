// SPDX-License-Identifier: Apache-2.0
// exact_books [PAIRS [BLOCKS [SITES [THREADS]]]]: what booking costs in exact mode without stacks and without
// an allocator: pairs of exact_alloc and exact_free over a working set of BLOCKS blocks of mixed sizes, from
// SITES call sites. Prints nanoseconds per pair, and the books' own memory as a share of the heap for blocks
// of one size.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <thread>
#include <vector>

#include "record/exact/exact.hpp"
#include "record/exact/incremental.hpp"
#include "record/thread_state.hpp"
#include "tests/unit/made_up_sites.hpp"

using namespace mallard::record;

namespace {

struct Block {
  std::uintptr_t address;
  std::uint64_t bytes;
};

const void* pointer(std::uintptr_t address) { return reinterpret_cast<const void*>(address); }

/// Does `pairs` times what a program does: frees a block, gets one. The loop's own memory is small.
template <typename Free, typename Allocate>
double nanoseconds(std::size_t pairs, const std::vector<Block>& all, const std::vector<std::uint16_t>& random,
                   std::size_t sites, Free release, Allocate allocate) {
  const auto start = std::clock();  // processor time: other programs' turns do not count
  std::size_t at = 0, site = 0;
  for (std::size_t i = 0; i < pairs; ++i) {
    at += random[i % random.size()];
    if (at >= all.size()) at -= all.size();
    if (++site >= sites) site = 0;
    const Block& b = all[at];
    release(pointer(b.address));
    allocate(pointer(b.address), b.bytes, mallard::unwind::Caller{1 + site, 0, 0});
  }
  return 1e9 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// \return nanoseconds of all pairs, without those of the loop
double churn(unsigned thread, std::size_t pairs, std::size_t blocks, std::size_t sites) {
  std::mt19937 generator(thread);
  std::vector<Block> all(blocks);
  std::vector<std::uint16_t> random(4096);
  for (auto& step : random)
    step = static_cast<std::uint16_t>(generator() % std::min<std::size_t>(blocks, 65536));
  std::uintptr_t next = 0x7100'0000'0000 + std::uintptr_t{thread} * 0x10'0000'0000;
  for (Block& b : all) {
    static constexpr std::uint64_t kSizes[] = {16, 24, 32, 48, 64, 100, 200, 500};
    b = {next, kSizes[generator() % std::size(kSizes)]};
    next += (b.bytes + 15) / 16 * 16;
    exact_alloc(pointer(b.address), b.bytes, {1 + generator() % sites, 0, 0});
  }
  const double own = nanoseconds(
      pairs, all, random, sites,
      [](const void* p) {
        __asm__ volatile("" : : "r"(p) : "memory");
      },
      [](const void* p, std::uint64_t n, mallard::unwind::Caller c) {
        __asm__ volatile("" : : "r"(p), "r"(n), "r"(c.pc) : "memory");
      });
  return nanoseconds(pairs, all, random, sites, exact_free, exact_alloc) - own;
}

void own_memory() {
  for (std::uint64_t bytes : {8, 16, 32, 48, 64, 96, 128, 256, 1024, 4096}) {
    exact_begin();
    constexpr std::uint64_t kHeap = 256u << 20;
    for (std::uint64_t at = 0; at < kHeap; at += bytes)
      exact_alloc(pointer(0x7200'0000'0000 + at), bytes, {1, 0, 0});
    std::printf("blocks of %4lu bytes: own memory %5.2f %% of the heap\n", static_cast<unsigned long>(bytes),
                100.0 * static_cast<double>(exact_own_bytes()) / static_cast<double>(kHeap));
  }
}

/// A report walks the live blocks.
void walk() {
  exact_begin();
  constexpr std::uint64_t kBlocks = 10'000'000;
  std::uint64_t seen = 0;
  for (std::uint64_t i = 0; i < kBlocks; ++i)
    exact_alloc(pointer(0x7300'0000'0000 + i * 112), 100, {1, 0, 0});
  const auto start = std::clock();
  exact_for_each_live(
      0, UINTPTR_MAX,
      [](const ExactLive& b, void* to) { *static_cast<std::uint64_t*>(to) += b.asked_bytes == 100; }, &seen);
  const auto pieces = std::clock();
  std::uint64_t again = 0;
  for (std::uintptr_t at = 0x7300'0000'0000; at < 0x7300'0000'0000 + kBlocks * 112; at += 4096)
    exact_for_each_live(
        at, at + 4096,
        [](const ExactLive& b, void* to) { *static_cast<std::uint64_t*>(to) += b.asked_bytes == 100; },
        &again);
  std::printf("page by page: %lu in %.0f ms\n", static_cast<unsigned long>(again),
              1e3 * static_cast<double>(std::clock() - pieces) / CLOCKS_PER_SEC);
  std::printf("walk over %lu live blocks: %.0f ms\n", static_cast<unsigned long>(seen),
              1e3 * static_cast<double>(pieces - start) / CLOCKS_PER_SEC);
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::size_t otherwise) {
    return argc > i ? std::strtoull(argv[i], nullptr, 10) : otherwise;
  };
  const std::size_t pairs = argument(1, 5'000'000), blocks = argument(2, 100'000), sites = argument(3, 100),
                    threads = argument(4, 1);
  if (!exact_prepare()) return 1;
  exact_begin();
  double ns = 0;
  if (threads == 1) {
    ns = churn(0, pairs, blocks, sites);
  } else {
    std::vector<std::thread> workers;  // processor time is the process's: of all threads
    std::vector<double> each(threads);
    for (unsigned i = 0; i < threads; ++i)
      workers.emplace_back([&, i] { each[i] = churn(i, pairs, blocks, sites); });
    for (std::thread& t : workers) t.join();
    ns = *std::max_element(each.begin(), each.end());
  }
  std::printf("%zu blocks, %zu sites, %zu threads: %.1f ns per pair\n", blocks, sites, threads,
              ns / static_cast<double>(pairs * threads));
  if (argc > 1) return 0;
  own_memory();
  walk();
}
