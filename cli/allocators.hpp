// SPDX-License-Identifier: Apache-2.0
// Allocators that programs carry or link: how to recognise each by symbols, by strings, by its library's
// name.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mallard::cli {

struct KnownAllocator {
  std::string_view name;
  std::vector<std::string_view>
      symbols;                          ///< defined by whoever carries it; "x*" = any name that begins with x
  std::vector<std::string_view> calls;  ///< functions that give out memory without going through malloc
  std::vector<std::string_view> messages;  ///< texts inside it, all of them, with ~ for blanks
  std::vector<std::string_view> sonames;   ///< beginnings of its own libraries' names
};

std::span<const KnownAllocator> known_allocators();

/// A sanitizer's name if a library of that name or a symbol of that name is its runtime, else empty.
std::string_view sanitizer_of_library(std::string_view soname);
std::string_view sanitizer_of_symbol(std::string_view symbol);

/// True if any rule of this command looks at a symbol of this name.
bool is_interesting(std::string_view symbol);
bool matches(std::string_view pattern, std::string_view symbol);

/// Version within the bytes of an object that carries `allocator`; empty if there is none to be read.
std::string version_in_text(const KnownAllocator& allocator, std::string_view bytes);
/// The same from the code of mi_version(), which only loads a number.
std::string version_in_code(std::string_view code);
/// True if every message of `allocator` stands in `bytes` (and it has any).
bool has_messages(const KnownAllocator& allocator, std::string_view bytes);

}  // namespace mallard::cli
