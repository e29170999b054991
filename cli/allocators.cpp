// SPDX-License-Identifier: Apache-2.0
#include "cli/allocators.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace mallard::cli {
namespace {

constexpr std::string_view kDigits = "0123456789";

/// Text of the form N.N[.N...][-N-gHASH] that starts at `at`.
std::string version_at(std::string_view bytes, std::size_t at) {
  std::size_t end = bytes.find_first_not_of("0123456789.", at);
  if (end == bytes.npos) end = bytes.size();
  std::string_view number = bytes.substr(at, end - at);
  while (number.ends_with('.')) number.remove_suffix(1);
  return number.find('.') == number.npos || number.size() > 16 ? std::string() : std::string(number);
}

/// jemalloc's own form, for instance 5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c.
std::string jemalloc_version(std::string_view bytes) {
  for (std::size_t at = 0; (at = bytes.find("-g", at)) != bytes.npos; at += 2) {
    const std::size_t hash_end = bytes.find_first_not_of("0123456789abcdef", at + 2);
    if (hash_end == bytes.npos || hash_end - at - 2 < 7 || bytes[hash_end] != '\0') continue;
    std::size_t start = at;
    while (start > 0 && at - start < 24 &&
           (kDigits.find(bytes[start - 1]) != kDigits.npos || bytes[start - 1] == '.' ||
            bytes[start - 1] == '-'))
      --start;
    const std::string_view all = bytes.substr(start, at - start);
    if (std::count(all.begin(), all.end(), '.') >= 2 && std::count(all.begin(), all.end(), '-') == 1)
      return std::string(all.substr(0, all.find('-')));
  }
  return {};
}

}  // namespace

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
  if (symbol == "malloc" || symbol == "mi_version" || !sanitizer_of_symbol(symbol).empty()) return true;
  for (const KnownAllocator& a : known_allocators())
    for (const auto names : {a.symbols, a.calls})
      for (std::string_view pattern : names)
        if (matches(pattern, symbol)) return true;
  return false;
}

std::string version_in_text(const KnownAllocator& allocator, std::string_view bytes) {
  if (allocator.name == "jemalloc") return jemalloc_version(bytes);
  if (allocator.name == "tcmalloc") {
    constexpr std::string_view kPackage = "gperftools ";
    for (std::size_t at = 0; (at = bytes.find(kPackage, at)) != bytes.npos; ++at)
      if (std::string version = version_at(bytes, at + kPackage.size()); !version.empty()) return version;
  }
  return {};
}

std::string version_in_code(std::string_view code) {
  if (code.starts_with("\xf3\x0f\x1e\xfa")) code.remove_prefix(4);  // endbr64
  std::uint32_t number;
  if (code.size() < 6 || static_cast<unsigned char>(code[0]) != 0xb8 ||  // mov $number, %eax; ret
      static_cast<unsigned char>(code[5]) != 0xc3)
    return {};
  std::memcpy(&number, code.data() + 1, sizeof number);
  if (number >= 100 && number < 1000)
    return fmt::format("{}.{}.{}", number / 100, number / 10 % 10, number % 10);
  if (number >= 10000 && number < 100000)
    return fmt::format("{}.{}.{}", number / 10000, number / 100 % 100, number % 100);
  return {};
}

bool has_messages(const KnownAllocator& allocator, std::string_view bytes) {
  return !allocator.messages.empty() &&
         std::all_of(allocator.messages.begin(), allocator.messages.end(), [&](std::string_view m) {
           std::string text(m);
           std::replace(text.begin(), text.end(), '~', ' ');
           return memmem(bytes.data(), bytes.size(), text.data(), text.size()) != nullptr;
         });
}

}  // namespace mallard::cli
