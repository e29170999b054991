// SPDX-License-Identifier: Apache-2.0
// Which allocator a loaded object has inside. Context: reporter.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "inside/known_allocators.hpp"
#include "elf/modules.hpp"

namespace mallard::inside {

/// One allocator in a loaded object.
struct CarriedAllocator {
  const KnownAllocator* allocator;
  std::string_view pattern;  ///< symbol or message that told; static text
  char version[24];          ///< empty = it does not say
  bool by_text;              ///< `pattern` is a message: the symbols are stripped
};

/// What was found in the file of a loaded object.
struct Contents {
  static constexpr std::size_t kMost = 4;
  CarriedAllocator carried[kMost];
  std::uint32_t count;  ///< a managed heap only where there is no allocator beside it
  bool defines_malloc;  ///< exports a malloc of its own
  bool is_symbolic;     ///< and its own calls go to that one (-Bsymbolic)
  bool uses_brk;        ///< calls sbrk or brk
  bool readable;

  std::span<const CarriedAllocator> all() const noexcept { return {carried, count}; }
  /// Whose memory it is that one of its functions maps. \param function  empty = unknown
  /// \return nullptr if there is none, or if it cannot be told
  const KnownAllocator* owner_of(std::string_view function) const noexcept;
};

/// Looks into a module's file: symbols, then, if it has none and could map memory, texts. Remembers its
/// answers from report to report. The reference holds until the next call.
const Contents& contents_of(const elf::Module& module) noexcept;

}  // namespace mallard::inside
