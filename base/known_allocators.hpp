// SPDX-License-Identifier: Apache-2.0
// Allocators that programs carry or link: how to recognise each by symbols, by strings, by its library's
// name. One table for the command, which looks at files, and for the report, which looks at what is loaded.
#pragma once

#include <span>
#include <string_view>

#include "base/text.hpp"

namespace mallard {

struct KnownAllocator {
  std::string_view name;
  /// Defined by whoever carries it; "x*" = any name that begins with x.
  std::span<const std::string_view> symbols;
  /// Functions that give out memory without going through malloc.
  std::span<const std::string_view> calls;
  /// Texts inside it, all of them, with ~ for blanks: so no reader of this table is taken for a carrier.
  std::span<const std::string_view> messages;
  /// Beginnings of its own libraries' names.
  std::span<const std::string_view> sonames;
};

std::span<const KnownAllocator> known_allocators() noexcept;

/// True if `symbol` is meant by `pattern`, which may end in '*'.
constexpr bool matches(std::string_view pattern, std::string_view symbol) noexcept {
  if (pattern.ends_with('*')) return symbol.starts_with(part_of(pattern, 0, pattern.size() - 1));
  return pattern == symbol;
}

}  // namespace mallard
