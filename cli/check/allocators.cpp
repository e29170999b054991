// SPDX-License-Identifier: Apache-2.0
#include "cli/check/allocators.hpp"

#include <utility>

namespace mallard::cli {

std::string_view sanitizer_of_library(std::string_view soname) {
  constexpr std::pair<std::string_view, std::string_view> table[] = {
      {"libasan.so", "AddressSanitizer"},
      {"libclang_rt.asan", "AddressSanitizer"},
      {"libtsan.so", "ThreadSanitizer"},
      {"libclang_rt.tsan", "ThreadSanitizer"},
      {"liblsan.so", "LeakSanitizer"},
      {"libhwasan.so", "HWAddressSanitizer"},
      {"libclang_rt.hwasan", "HWAddressSanitizer"},
      {"libclang_rt.msan", "MemorySanitizer"}};
  for (const auto& [library, name] : table)
    if (soname.starts_with(library)) return name;
  return {};
}

std::string_view sanitizer_of_symbol(std::string_view symbol) {
  if (symbol == "__asan_init") return "AddressSanitizer";
  if (symbol == "__tsan_init") return "ThreadSanitizer";
  if (symbol == "__msan_init") return "MemorySanitizer";
  if (symbol == "__lsan_init") return "LeakSanitizer";
  if (symbol == "__hwasan_init") return "HWAddressSanitizer";
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
