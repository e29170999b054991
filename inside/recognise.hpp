// SPDX-License-Identifier: Apache-2.0
// Which allocators an object has inside: one answer for `mallard check`, which looks at files, and for the
// report, which looks at what is loaded.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "elf/modules.hpp"
#include "inside/messages.hpp"

namespace mallard::inside {

/// One allocator in an object.
struct CarriedAllocator {
  const KnownAllocator* allocator;
  std::string_view pattern;        ///< symbol or message that told, as in known_allocators(); static text
  char symbol[96];                 ///< the symbol that told, cut if it is longer; empty if a message told
  char version[kMaxVersionBytes];  ///< empty = it does not say
  bool by_text;                    ///< `pattern` is a message: the symbols are stripped
};

/// The allocators and the related facts found in an object.
struct Contents {
  static constexpr std::size_t kMost = 8;
  CarriedAllocator carried[kMost];  ///< allocators, and behind them the managed heaps of language runtimes
  std::uint32_t count;              ///< of allocators; of managed heaps if there is no allocator beside them
  std::uint32_t total;              ///< of both
  bool defines_malloc;              ///< exports a malloc of its own
  bool is_symbolic;                 ///< and its own calls go to that one (-Bsymbolic)
  bool uses_brk;                    ///< calls sbrk or brk
  bool readable;

  /// Those that may own what the object maps.
  std::span<const CarriedAllocator> all() const noexcept { return {carried, count}; }
  std::span<const CarriedAllocator> with_managed() const noexcept { return {carried, total}; }
  /// The allocator to whose memory a mapping belongs that a function of the object has made.
  /// \param function  empty = unknown \return nullptr if there is none, or if it cannot be told
  const KnownAllocator* owner_of(std::string_view function) const noexcept;
};

/// Looks into an image that has been parsed: symbols, then, if it has none and could map memory, texts.
/// \context reporter, offline
void recognise(const elf::Image& image, Contents* out) noexcept;

/// Recognises what a module's file has inside; remembers its answers from report to report. The reference holds
/// until the next call. \context reporter
const Contents& contents_of(const elf::Module& module, const ProcessMemory& process = own_process()) noexcept;

}  // namespace mallard::inside
