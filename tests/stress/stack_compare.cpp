// SPDX-License-Identifier: Apache-2.0
// A preload library that takes the stack of every malloc as exact mode does, incrementally, and compares
// every 100th of them with what a full unwind of libunwind says, and with a full walk by rules. At exit it
// writes the counts to descriptor 2; status 99 if any differ.
//   LD_PRELOAD=libstack_compare.so sqlite3 ...
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "base/text.hpp"
#include "record/exact/incremental.hpp"
#include "record/site_table.hpp"
#include "unwind/stacks.hpp"
#include "unwind/unwinder.hpp"

using namespace mallard;
using namespace mallard::record;
using namespace mallard::unwind;

namespace {

constexpr std::uint64_t kEvery = 100;
constinit std::atomic<std::uint64_t> compared{0}, different{0}, overflow{0}, turned_away{0};
constinit thread_local bool t_busy = false;
constinit thread_local std::uint64_t t_calls = 0;
// One row of this buffer for each thread, by turns: what a row holds of another thread must do no harm,
// either.
constexpr std::size_t kRows = 64, kRowBytes = 64 * 1024;
alignas(64) constinit char g_rows[kRows][kRowBytes];
constinit std::atomic<std::uint32_t> g_next_row{0};
constinit thread_local char* t_row = nullptr;

StackMemory* memory_of_thread() {
  if (!t_row) {
    const std::uint32_t row = g_next_row.fetch_add(1);
    if (row >= kRows) return nullptr;
    t_row = g_rows[row];
  }
  return reinterpret_cast<StackMemory*>(t_row);
}

bool same(const std::uintptr_t* a, int n, const std::uintptr_t* b, int m) {
  return n == m && std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof a[0]) == 0;
}

__attribute__((noinline)) void compare(const Caller& caller) {
  const SiteId site = capture_site(caller, memory_of_thread());
  if (++t_calls % kEvery != 0) return;
  std::uintptr_t by_rules[kMaxDepth], by_libunwind[kMaxDepth];
  if (site == kOverflowSite) {
    overflow.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const int n = copy_site_pcs(record::site(site), by_rules, kMaxDepth);
  StackReader stack(caller.return_slot);
  bool truncated;
  const int m = unwind_fully(caller, stack, by_libunwind, kMaxDepth, &truncated);
  if (m == 0) {
    turned_away.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  compared.fetch_add(1, std::memory_order_relaxed);
  if (same(by_rules, n, by_libunwind, m)) return;
  if (different.fetch_add(1, std::memory_order_relaxed) >= 5) return;
  FixedText<400> text;
  text.add("stack_compare: ")
      .add_unsigned(static_cast<std::uint64_t>(n))
      .add(" frames incrementally, ")
      .add_unsigned(static_cast<std::uint64_t>(m))
      .add(" by libunwind");
  for (int i = 0; i < n && i < m; ++i) {
    if (by_rules[i] == by_libunwind[i] && i + 1 < n && i + 1 < m) continue;
    text.add("; frame ")
        .add_unsigned(static_cast<std::uint64_t>(i))
        .add(": ")
        .add_hex(by_rules[i])
        .add(' ')
        .add_hex(by_libunwind[i]);
    Dl_info info{};
    const auto at = i ? by_rules[i - 1] : 0;
    if (dladdr(reinterpret_cast<void*>(at), &info) && info.dli_fname)
      text.add(" after ").add(info.dli_fname).add("+").add_hex(at - address_of(info.dli_fbase));
    break;
  }
  text.add('\n');
  (void)!write(2, text.view().data(), text.size());
}

constinit bool ready = false;

struct Report {
  Report() {
    if (!sites_init(Expected::kManyStacks) || kStackMemoryBytes > kRowBytes) _exit(98);
    stacks_init();
    ready = true;
  }
  ~Report() {
    FixedText<400> text;
    const StackStats stats = stack_stats();
    const IncrementalStats incremental = incremental_stats();
    text.add("stack_compare: ")
        .add_unsigned(compared)
        .add(" compared, ")
        .add_unsigned(different)
        .add(" different, ")
        .add_unsigned(stats.rules)
        .add(" rules, ")
        .add_unsigned(stats.truncated)
        .add(" truncated, ")
        .add_unsigned(stats.by_libunwind)
        .add(" by libunwind, ")
        .add_unsigned(overflow)
        .add(" without room; ")
        .add_unsigned(incremental.captured)
        .add(" captures, ")
        .add_unsigned(incremental.joined)
        .add(" joined, ")
        .add_unsigned(incremental.in_full)
        .add(" in full, ")
        .add_unsigned(incremental.walked)
        .add(" frames walked, ")
        .add_unsigned(site_count())
        .add(" sites, ")
        .add_unsigned(sites_own_bytes() >> 10)
        .add(" KiB\n");
    (void)!write(2, text.view().data(), text.size());
    if (different) _exit(99);
  }
};
Report report;

}  // namespace

MALLARD_EXPORT void* malloc(std::size_t bytes) {
  if (!t_busy && ready) {
    t_busy = true;
    compare(MALLARD_CALLER());
    t_busy = false;
  }
  // The next one, whose free the program calls: redis brings an allocator of its own.
  static constinit std::atomic<void* (*)(std::size_t)> next{nullptr};
  auto* f = next.load(std::memory_order_relaxed);
  if (!f) next = f = reinterpret_cast<void* (*)(std::size_t)>(dlsym(RTLD_NEXT, "malloc"));
  return f(bytes);
}
