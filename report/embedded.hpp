// SPDX-License-Identifier: Apache-2.0
// Which allocator a loaded object has inside. Context: reporter.
#pragma once

#include <string_view>

#include "base/known_allocators.hpp"
#include "report/modules.hpp"

namespace mallard::report {

/// What was found in the file of a loaded object.
struct Inside {
  const KnownAllocator* allocator;  ///< nullptr = none that is known
  const KnownAllocator* managed;    ///< a managed heap beside it, or alone
  std::string_view pattern;         ///< symbol or message that told; static text
  char version[24];                 ///< empty = it does not say
  bool by_text;                     ///< `pattern` is a message: the symbols are stripped
  bool defines_malloc;              ///< exports a malloc of its own
  bool is_symbolic;                 ///< and its own calls go to that one (-Bsymbolic)
  bool uses_brk;                    ///< calls sbrk or brk
  bool readable;

  std::string_view name() const noexcept {
    return allocator ? allocator->name : managed ? managed->name : std::string_view();
  }
};

/// Looks into a module's file: symbols, then, if it has none and could map memory, texts. Remembers its
/// answers from report to report. The reference holds until the next call.
const Inside& look_inside(const Module& module) noexcept;

}  // namespace mallard::report
