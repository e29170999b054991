// SPDX-License-Identifier: Apache-2.0
#include "record/exact/path_counts.hpp"

#include <atomic>
#include <cstddef>

#include "base/growing.hpp"
#include "base/os.hpp"
#include "record/exact/counts.hpp"

namespace mallard::record {
namespace {

// A word is: the key's low 42 bits | row; its high bits name the line, 10 of them on the first level, 18 on
// the last. A new key is compared with 32 words at most: with a probability of 7e-12 it is taken for another
// one.
constexpr int kRowBits = 22, kLine = 8;
static_assert(kMaxCountRows <= 1u << kRowBits);

// A line that is full sends what comes later to the next level: small programs touch the first one only.
struct PathLevel {
  std::size_t first;
  int bits;
};
constexpr std::size_t after(PathLevel level) noexcept { return level.first + (std::size_t{1} << level.bits); }
constexpr PathLevel kFirst{0, 13}, kSecond{after(kFirst), 16}, kThird{after(kSecond), 19};
constexpr PathLevel kLevel[] = {kFirst, kSecond, kThird, {after(kThird), 21}};
constexpr std::size_t kSlots = after(kLevel[3]);

using Word = std::atomic<std::uint64_t>;
constinit GrowingArray<Word, kSlots> g_words;
MALLARD_PART(path_rows, g_words);

constexpr std::uint64_t tag_of(std::uint64_t key) noexcept { return key << kRowBits; }
Word* line_of(const PathLevel& level, std::uint64_t key) noexcept {
  return &g_words[level.first + ((key >> (64 - level.bits)) & ~std::uint64_t{kLine - 1})];
}

}  // namespace

bool path_counts_init() noexcept { return g_words || g_words.init(); }
void path_counts_release() noexcept { g_words.release(); }

std::uint32_t path_row(std::uint64_t key) noexcept {
  // One wait for all lines; of address space that is not open yet it does nothing.
  for (const PathLevel& level : kLevel) __builtin_prefetch(line_of(level, key));
  for (const PathLevel& level : kLevel) {
    if (!g_words.open(after(level))) return 0;
    const Word* const line = line_of(level, key);
    for (int i = 0; i < kLine; ++i) {
      // Acquire: the row is complete.
      const std::uint64_t word = line[i].load(std::memory_order_acquire);
      if (word == 0) return 0;
      if (((word ^ tag_of(key)) >> kRowBits) == 0)
        return static_cast<std::uint32_t>(word & (kMaxCountRows - 1));
    }
  }
  return 0;
}

void keep_path_row(std::uint64_t key, std::uint32_t row) noexcept {
  const std::uint64_t wanted = tag_of(key) | row;
  for (const PathLevel& level : kLevel) {
    if (!g_words.open(after(level))) return;
    Word* const line = line_of(level, key);
    for (int i = 0; i < kLine; ++i) {
      std::uint64_t word = line[i].load(std::memory_order_relaxed);
      if (word == 0 && line[i].compare_exchange_strong(word, wanted, std::memory_order_acq_rel)) return;
      if (word == wanted) return;
    }
  }
}

bool path_counts_adopt(const OtherParts& parts) noexcept { return g_words.adopt(parts, kSlots); }

std::uint64_t path_counts_own_bytes() noexcept {
  return g_words ? g_words.resident_bytes(kSlots) : 0;
}

}  // namespace mallard::record
