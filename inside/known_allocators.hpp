// SPDX-License-Identifier: Apache-2.0
// Allocators that programs carry or link: how to recognise each by symbols, by strings, by its library's
// name. One table for the command, which looks at files, and for the report, which looks at what is loaded.
#pragma once

#include <span>
#include <string_view>

#include "base/text.hpp"

namespace mallard::inside {

struct KnownAllocator {
  std::string_view name;
  /// Defined by whoever carries it, see matches(); those that only it has come before those of is_shared().
  std::span<const std::string_view> symbols;
  /// Functions that give out memory without going through malloc.
  std::span<const std::string_view> calls;
  /// Texts inside it, all of them, written with ~ and ^ (see meant_by()).
  std::span<const std::string_view> messages;
  /// Beginnings of its own libraries' names.
  std::span<const std::string_view> sonames;
  /// Beginnings of the names that it gives its memory (PR_SET_VMA_ANON_NAME), as in "[anon:scudo:primary]".
  std::span<const std::string_view> mapping_names = {};
  /// The heap of a language's runtime, which keeps objects in memory that it maps by itself: no malloc.
  bool is_managed = false;
  /// The tool that does show the objects of a managed heap.
  std::string_view advice = {};
  /// Functions of it that map memory: they tell it from another one in the same object.
  std::span<const std::string_view> mappers = {};
};

/// KnownAllocator::name of Go's runtime, which is also found by where its heap lies.
inline constexpr std::string_view kGoHeap = "Go's heap";

inline constexpr std::size_t kMaxKnownAllocators = 32;
/// Those whose names say more come before those that only share a name with them.
std::span<const KnownAllocator> known_allocators() noexcept;

/// The allocator that gives its memory such a name; nullptr if none is known to.
/// \param path  as in /proc/PID/maps: "[anon:scudo:primary]"
const KnownAllocator* allocator_of_mapping(std::string_view path) noexcept;

/// ~ stands for a blank and ^ for a slash in messages: so no reader of this table is taken for a carrier.
constexpr char meant_by(char c) noexcept { return c == '~' ? ' ' : c == '^' ? '/' : c; }

/// True if `symbol` is meant by `pattern`: "x" is x itself, "x*" begins with it, "*x*" has it in it.
constexpr bool matches(std::string_view pattern, std::string_view symbol) noexcept {
  if (!pattern.ends_with('*')) return pattern == symbol;
  pattern.remove_suffix(1);
  if (!pattern.starts_with('*')) return symbol.starts_with(pattern);
  pattern.remove_prefix(1);
  return symbol.find(pattern) != symbol.npos;
}

/// Names that several allocators offer, for programs written for another one: where an object has one of its
/// own, these tell of no second.
constexpr bool is_shared(std::string_view pattern) noexcept {
  return pattern == "mallocx" || pattern == "xxmalloc";
}

}  // namespace mallard::inside
