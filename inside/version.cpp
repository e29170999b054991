// SPDX-License-Identifier: Apache-2.0
#include "inside/version.hpp"

#include <algorithm>
#include <cstdint>

#include "arch/code.hpp"
#include "heaps/mimalloc_version.hpp"

namespace mallard::inside {
namespace {

constexpr std::size_t kLongestVersion = 16;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Text of the form N.N[.N...] that `text` begins with.
std::string_view number_at(std::string_view text) noexcept {
  std::size_t end = 0;
  while (end < text.size() && end <= kLongestVersion && (is_digit(text[end]) || text[end] == '.')) ++end;
  while (end > 0 && text[end - 1] == '.') --end;
  const std::string_view number = part_of(text, 0, end);
  return number.find('.') == number.npos || end > kLongestVersion ? std::string_view() : number;
}

/// jemalloc's own form, for instance 5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c.
std::string_view jemalloc_version(std::string_view bytes) noexcept {
  constexpr std::size_t kShortestHash = 7, kLongestFront = 24;
  for (std::size_t at = 0; (at = bytes.find("-g", at)) != bytes.npos; at += 2) {
    std::size_t end = at + 2;
    while (end < bytes.size() && (is_digit(bytes[end]) || (bytes[end] >= 'a' && bytes[end] <= 'f'))) ++end;
    if (end == bytes.size() || bytes[end] != '\0' || end - at - 2 < kShortestHash) continue;
    std::size_t start = at;
    while (start > 0 && at - start < kLongestFront &&
           (is_digit(bytes[start - 1]) || bytes[start - 1] == '.' || bytes[start - 1] == '-'))
      --start;
    const std::string_view all = part_of(bytes, start, at - start);
    if (std::count(all.begin(), all.end(), '.') >= 2 && std::count(all.begin(), all.end(), '-') == 1)
      return part_of(all, 0, all.find('-'));
  }
  return {};
}

/// The first number that stands behind `word`.
std::string_view version_behind(std::string_view word, std::string_view bytes) noexcept {
  for (std::size_t at = 0; (at = bytes.find(word, at)) != bytes.npos; ++at)
    if (const auto version = number_at(part_of(bytes, at + word.size())); !version.empty()) return version;
  return {};
}

}  // namespace

bool version_in_text(const KnownAllocator& allocator, std::string_view bytes, TextBuffer& to) noexcept {
  std::string_view version;
  if (allocator.name == "jemalloc") version = jemalloc_version(bytes);
  else if (allocator.name == "tcmalloc") version = version_behind("gperftools ", bytes);
  to.add(version);
  return !version.empty();
}

bool version_in_code(std::string_view code, TextBuffer& to) noexcept {
  const auto* bytes = reinterpret_cast<const unsigned char*>(code.data());
  const std::size_t pad = arch::landing_pad_bytes(bytes, code.size());
  std::uint32_t number = 0;
  return arch::returned_constant(bytes + pad, code.size() - pad, &number) &&
         heaps::add_mimalloc_version(to, number);
}

}  // namespace mallard::inside
