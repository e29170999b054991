// SPDX-License-Identifier: Apache-2.0
// A preload library that takes the stack of every 16th malloc twice, by rules and by a full unwind of
// libunwind, and compares. At exit it writes the counts to descriptor 2; status 99 if any differ.
//   LD_PRELOAD=libstack_compare.so sqlite3 ...
#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "base/text.hpp"
#include "record/stacks.hpp"
#include "record/unwinder.hpp"

using namespace mallard;
using namespace mallard::record;

extern "C" void* __libc_malloc(std::size_t);

namespace {

constinit std::atomic<std::uint64_t> calls{0}, compared{0}, different{0};
constinit thread_local bool t_busy = false;

__attribute__((noinline)) void compare(const Caller& caller) {
  std::uintptr_t by_rules[kMaxDepth], by_libunwind[kMaxDepth];
  const int n = capture_stack(caller, by_rules, kMaxDepth);
  StackReader stack(caller.return_slot);
  bool truncated;
  const int m = unwind_fully(caller, stack, by_libunwind, kMaxDepth, &truncated);
  if (m == 0) return;
  compared.fetch_add(1, std::memory_order_relaxed);
  if (n == m && std::memcmp(by_rules, by_libunwind, static_cast<std::size_t>(n) * sizeof by_rules[0]) == 0)
    return;
  if (different.fetch_add(1, std::memory_order_relaxed) >= 5) return;
  FixedText<400> text;
  text.add("stack_compare: ")
      .add_unsigned(static_cast<std::uint64_t>(n))
      .add(" frames by rules, ")
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

struct Report {
  Report() { stacks_init(); }
  ~Report() {
    FixedText<200> text;
    const StackStats stats = stack_stats();
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
        .add(" by libunwind\n");
    (void)!write(2, text.view().data(), text.size());
    if (different) _exit(99);
  }
};
Report report;

}  // namespace

MALLARD_EXPORT void* malloc(std::size_t bytes) {
  if (!t_busy && calls.fetch_add(1, std::memory_order_relaxed) % 16 == 0) {
    t_busy = true;
    compare(MALLARD_CALLER());
    t_busy = false;
  }
  return __libc_malloc(bytes);
}
