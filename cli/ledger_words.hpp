// SPDX-License-Identifier: Apache-2.0
// How text calls the causes of the ledger.
#pragma once

#include <string_view>
#include <utility>

namespace mallard::cli {

inline std::string_view words_for(std::string_view cause) {
  constexpr std::pair<std::string_view, std::string_view> kWords[] = {{"live", "live, as requested"},
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
  for (const auto& [name, words] : kWords)
    if (name == cause) return words;
  return cause;
}

}  // namespace mallard::cli
