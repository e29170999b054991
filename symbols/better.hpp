// SPDX-License-Identifier: Apache-2.0
// Which of the names of a function is shown. Aliases, and equal functions that the linker has folded into
// one, give an address several names; the report and the command choose by this one rule.
#pragma once

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

namespace mallard::symbols {

/// A name that a symbol table gives to a function, and how it binds (STB_GLOBAL, ...).
struct FunctionName {
  std::string_view name;  ///< without the version that linkers append
  int binding;
};

/// The name without a version that linkers append (@VERSION, @@VERSION).
constexpr std::string_view without_version(std::string_view name) noexcept {
  return {name.data(), std::min(name.find('@', 1), name.size())};
}

/// True if `a` is the name to show rather than `b`: the one that people know, and then always the same one,
/// in whatever order the tables have them. A name that other objects can see comes before one that only the
/// full symbol table has, so that a stripped file and its debug file tell the same.
constexpr bool better(const FunctionName& a, const FunctionName& b) noexcept {
  constexpr auto doubts = [](const FunctionName& f) noexcept {
    return std::array<std::size_t, 6>{
        f.name.find('.', 1) !=
            f.name.npos,              // a part or a copy that the compiler made: foo.cold, foo.localalias
        f.name.starts_with("__GI_"),  // glibc's name for its own calls
        f.binding == STB_LOCAL,
        f.binding == STB_WEAK,  // often a second name of a function
        std::min(f.name.find_first_not_of('_'), f.name.size()),
        f.name.size(),
    };
  };
  const auto doubts_a = doubts(a), doubts_b = doubts(b);
  return doubts_a != doubts_b ? doubts_a < doubts_b : a.name < b.name;
}

}  // namespace mallard::symbols
