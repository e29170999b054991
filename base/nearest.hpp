// SPDX-License-Identifier: Apache-2.0
// The known word that a misspelt one was meant to be.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

namespace mallard {

inline constexpr std::size_t kMaxNearWord = 40;

/// Letters that have to be put in, left out, replaced or exchanged with the next one to make `a` of `b`;
/// words beyond kMaxNearWord are far from every other. \context any
constexpr std::size_t letters_apart(std::string_view a, std::string_view b) noexcept {
  if (a.size() > kMaxNearWord || b.size() > kMaxNearWord) return 2 * kMaxNearWord;
  std::size_t rows[3][kMaxNearWord + 1] = {};  // of the letter of `a` at hand and the two before it, in turn
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min(std::min(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

/// \return the nearest of the known words; empty where none is near: more than 3 letters off, or than a third
/// of the word, and none begins as the word does \context any
constexpr std::string_view nearest(std::string_view word, std::span<const std::string_view> known) noexcept {
  constexpr std::size_t kMostApart = 3, kTellsApart = 4;
  std::string_view best;
  std::size_t apart = std::min(kMostApart, word.size() / 3) + 1;
  for (const std::string_view k : known)
    if (const std::size_t d = letters_apart(word, k); d < apart) {
      apart = d;
      best = k;
    }
  for (const std::string_view k : known)
    if (best.empty() && word.size() >= kTellsApart && k.starts_with(word)) best = k;
  return best;
}

}  // namespace mallard
