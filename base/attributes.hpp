// SPDX-License-Identifier: Apache-2.0
// Words that the host side shares: branch hints, visibility, fixed sizes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/page.hpp"

#define MALLARD_LIKELY(x) __builtin_expect(!!(x), 1)
#define MALLARD_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define MALLARD_COLD __attribute__((noinline, cold))
#define MALLARD_NOINLINE __attribute__((noinline))
/// Marks data that every fork writes, the locks above all. It lies side by side, because each page of it that
/// is written costs a page fault in the parent and one in the child.
#define MALLARD_FORK_DATA __attribute__((section("mallard_fork_data")))
/// Marks code that every fork and every exit of a forked child runs. It lies beside the exports, on pages
/// that the child gets with the parent's page tables, where code anywhere else costs it a page fault for each
/// 64 KiB.
#define MALLARD_FORK_TEXT __attribute__((noinline, section("mallard_fork_text")))
/// Marks large arrays of zeros of which little is used. They lie behind everything else, so that what small
/// ones and the first page of the rules are on lies close together, under one page of the page tables
/// (layout.ld).
#define MALLARD_LARGE_DATA __attribute__((section(".bss.mallard_large")))
#define MALLARD_RULES_DATA __attribute__((section(".bss.mallard_rules")))
#define MALLARD_FILTER_DATA __attribute__((section(".bss.mallard_filter")))
#define MALLARD_EXPORT extern "C" __attribute__((visibility("default")))

namespace mallard {

using arch::kPageBytes;

constexpr std::uintptr_t align_up(std::uintptr_t value, std::uintptr_t alignment) noexcept {
  return (value + alignment - 1) & ~(alignment - 1);
}

inline std::uintptr_t address_of(const void* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }

}  // namespace mallard
