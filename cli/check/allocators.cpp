// SPDX-License-Identifier: Apache-2.0
#include "cli/check/allocators.hpp"

namespace mallard::cli {

namespace {

struct Sanitizer {
  std::string_view name, symbol, gcc_library, clang_library;
};
constexpr Sanitizer kSanitizers[] = {
    {"AddressSanitizer", "__asan_init", "libasan.so", "libclang_rt.asan"},
    {"ThreadSanitizer", "__tsan_init", "libtsan.so", "libclang_rt.tsan"},
    {"LeakSanitizer", "__lsan_init", "liblsan.so", "libclang_rt.lsan"},
    {"HWAddressSanitizer", "__hwasan_init", "libhwasan.so", "libclang_rt.hwasan"},
    {"MemorySanitizer", "__msan_init", "libclang_rt.msan", "libclang_rt.msan"},
};

}  // namespace

std::string_view sanitizer_of_library(std::string_view soname) {
  for (const Sanitizer& s : kSanitizers)
    if (soname.starts_with(s.gcc_library) || soname.starts_with(s.clang_library)) return s.name;
  return {};
}

std::string_view sanitizer_of_symbol(std::string_view symbol) {
  for (const Sanitizer& s : kSanitizers)
    if (symbol == s.symbol) return s.name;
  return {};
}

bool is_interesting(std::string_view symbol) {
  if (symbol == "malloc" || !sanitizer_of_symbol(symbol).empty()) return true;
  for (const inside::KnownAllocator& a : inside::known_allocators())
    for (const std::string_view call : a.calls)
      if (inside::matches(call, symbol)) return true;
  return false;
}

}  // namespace mallard::cli
