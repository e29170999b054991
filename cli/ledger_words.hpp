// SPDX-License-Identifier: Apache-2.0
// How text calls the causes of the ledger.
#pragma once

#include <string_view>
#include <utility>

namespace mallard::cli {

inline constexpr std::pair<std::string_view, std::string_view> kCauseWords[] = {
    {"live", "live, as requested"},
    {"rounding", "rounding"},
    {"holes", "holes on pinned pages"},
    {"retained", "retained free"},
    {"lazily_freed", "lazily freed"},
    {"metadata", "allocator's metadata"},
    {"undivided", "heap, not divided"},
    {"anonymous", "other anonymous memory"},
    {"stacks", "stacks"},
    {"files", "files"},
    {"shared", "shared memory"},
    {"own", "mallard's own"}};

inline bool is_cause(std::string_view name) {
  for (const auto& [cause, words] : kCauseWords)
    if (cause == name) return true;
  return false;
}

/// \return the cause itself where it is of a later version
inline std::string_view words_for(std::string_view cause) {
  for (const auto& [name, words] : kCauseWords)
    if (name == cause) return words;
  return cause;
}

}  // namespace mallard::cli
