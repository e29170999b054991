// SPDX-License-Identifier: Apache-2.0
// Blocks that are free although their chunk looks live: in thread caches and in fastbins. Lists are not
// walked (that would need their heads, and would race): each block says itself that it is on one. Its first
// word is the link, since glibc 2.32 as (its address >> 12) ^ next; in a thread cache the second word is a
// key.
#include <algorithm>
#include <span>

#include "heaps/glibc.hpp"

namespace mallard::heaps::glibc {
namespace {

/// What stands in a tcache_perthread_struct.
class ThreadCache {
 public:
  explicit ThreadCache(const Layout& layout) noexcept : layout_(layout) {}

  bool read(Reader& reader, std::uintptr_t chunk) noexcept {
    const auto sizes = static_cast<std::size_t>(layout_.cache_sizes);
    return reader.copy(chunk + 16, counts_, sizes * sizeof *counts_) &&
           reader.copy(chunk + 16 + sizes * sizeof *counts_, entries_, sizes * sizeof *entries_);
  }
  /// The first block of each bin; 0 = it is empty.
  std::span<const std::uint64_t> entries() const noexcept {
    return {entries_, static_cast<std::size_t>(layout_.cache_sizes)};
  }

  bool is_consistent() const noexcept {
    const bool all_are_aligned =
        std::all_of(entries().begin(), entries().end(), [](std::uint64_t entry) { return (entry & 15) == 0; });
    return all_are_aligned && (layout_.counts_free_slots ? slots_are_consistent() : counts_are_consistent());
  }

 private:
  bool counts_are_consistent() const noexcept {
    for (std::size_t i = 0; i < entries().size(); ++i)
      if ((counts_[i] != 0) != (entries_[i] != 0)) return false;
    return true;
  }
  /// Each empty bin has as many free slots as the others, one with blocks has fewer.
  bool slots_are_consistent() const noexcept {
    unsigned of_empty = 0, most_of_others = 0;
    for (std::size_t i = 0; i < entries().size(); ++i) {
      const unsigned slots = counts_[i];
      if (entries_[i] != 0) most_of_others = std::max(most_of_others, slots);
      else if (slots == 0 || (of_empty != 0 && slots != of_empty)) return false;
      else of_empty = slots;
    }
    return of_empty == 0 || most_of_others < of_empty;
  }

  const Layout& layout_;
  std::uint16_t counts_[kMostCacheSizes];
  std::uint64_t entries_[kMostCacheSizes];
};

/// Whether the bin is for chunks of that size.
bool is_for(std::size_t bin, std::uint64_t size) noexcept {
  if (bin < kSmallCacheSizes) return size == (bin + 2) * 16;
  if (size <= kLargestSmallCached) return false;
  const int doublings = __builtin_clzll(kLargestSmallCached) - __builtin_clzll(size);
  return bin == kSmallCacheSizes + static_cast<std::size_t>(doublings);
}

/// glibc draws the key at random. What else stands in the second words of live blocks that lead to each
/// other, as the nodes of a program's list do, is mostly a pointer, a small number or one byte again and
/// again.
bool may_be_random(std::uint64_t word) noexcept {
  const std::uint64_t high = word >> 48;
  return high != 0 && high != 0xffff && word != (word & 0xff) * 0x0101'0101'0101'0101;
}

}  // namespace

bool FreeLists::is_thread_cache(std::uintptr_t chunk) noexcept {
  ThreadCache cache(layout_);
  if (!cache.read(reader_, chunk) || !cache.is_consistent()) return false;
  const std::span<const std::uint64_t> entries = cache.entries();
  for (std::size_t bin = 0; bin < entries.size(); ++bin) {
    std::uint64_t size;
    if (entries[bin] == 0) continue;  // the first block tells: it is of the size that the bin is for
    return reader_.copy(entries[bin] - 8, &size, sizeof size) && is_for(bin, size & ~kFlags);
  }
  return layout_.counts_free_slots;  // as many free slots in each of its bins: that is no coincidence
}

void FreeLists::learn_key(std::uintptr_t chunk) noexcept {
  if (key_ != 0 || !random_key_) return;
  ThreadCache cache(layout_);
  if (!cache.read(reader_, chunk) || !cache.is_consistent()) return;
  std::uint64_t seen = 0;
  int votes = 0, entries = 0;
  for (const std::uint64_t entry : cache.entries()) {
    std::uint64_t words[2];
    if (entry == 0 || !reader_.copy(entry, words, sizeof words)) continue;
    ++entries;
    if (votes == 0) seen = words[1];
    votes += words[1] == seen ? 1 : -1;
  }
  if (votes * 2 > entries && may_be_random(seen)) key_ = seen;
}

bool FreeLists::has_unknown_key(const Chunk& chunk) noexcept {
  const std::uintptr_t next = next_of(chunk.at + 16, chunk.first);
  if (chunk.second == 0 || (next & 15) != 0) return false;
  if (!random_key_) {  // the key is the address of the thread's cache
    if (chunk.second == key_) return true;
    std::uint64_t size;
    if ((chunk.second & 15) != 0 || !reader_.copy(chunk.second - 8, &size, sizeof size) ||
        (size & ~kFlags) != layout_.thread_cache_chunk())
      return false;
    key_ = chunk.second;
    return true;
  }
  // Not known yet: a neighbour in the list that has the same second word gives it away.
  std::uint64_t words[3];
  constexpr int kMostTries = 4096;  // there may be no thread caches
  if (tries_ == kMostTries || !may_be_random(chunk.second) || !plausible(next) || next == 0) return false;
  ++tries_;
  if (!reader_.copy(next - 8, words, sizeof words) || (words[0] & ~kFlags) != chunk.size ||
      words[2] != chunk.second)
    return false;
  key_ = chunk.second;
  return true;
}

/// Does `next` lead along a list of free chunks of `size`?
bool FreeLists::leads_on(std::uintptr_t next, std::uint64_t size, int hops) noexcept {
  for (; hops > 0 && next != 0; --hops) {
    std::uint64_t words[3];
    if (!reader_.copy(next, words, sizeof words) || (words[1] & ~kFlags) != size || (words[1] & kMapped) != 0)
      return false;
    next = next_of(next + 16, words[2]);
    if (!plausible(next)) return false;
  }
  return true;
}

/// Does the word lead to a block of that size as it stands, as links of a program's own list do?
bool FreeLists::is_plain_link(std::uint64_t word, std::uint64_t size) noexcept {
  std::uint64_t head;
  return word != 0 && plausible(word) && reader_.copy(word - 8, &head, sizeof head) &&
         (head & ~kFlags) == size;
}

/// A list of an arena stays in its heaps. A block that holds its own address may look like a link into
/// another one, as those lie.
bool FreeLists::share_arena(std::uintptr_t chunk, std::uintptr_t next) noexcept {
  const std::uintptr_t from = chunk / kHeapBytes * kHeapBytes, to = next / kHeapBytes * kHeapBytes;
  HeapInfo heap{}, other{};
  if (from == to || !reader_.copy(from, &heap, sizeof heap) || !reader_.copy(to, &other, sizeof other))
    return true;
  return !heap.is_at(from) || !other.is_at(to) || heap.arena == other.arena;
}

/// The link of a fastbin leads to the head of a chunk of the same size whose own link is plausible. Looks
/// aside cost a system call each: while they confirm nearly everything, only one in 16 is made, and after
/// many one in 1024: a program that freed millions of blocks at random would cost seconds. Mangling leaves a
/// pointer of the program aligned on one page in eight. Looked at more often are
/// - of these pages, what would be a pointer into the heap if it were not mangled; all of them where
/// addresses
///   are so low that mangling changes only their low bits (programs that are not position independent); links
///   that are not mangled;
/// - blocks whose second word is 0: they may be live, out of a thread cache, and not written to yet.
/// The others on these pages may hold pointers to elsewhere, and are judged by themselves.
bool FreeLists::in_fastbin(const Chunk& chunk, std::uintptr_t next) noexcept {
  constexpr std::uint64_t kTolerated = 512, kMany = 1 << 19;
  const bool aligned = !mangled_ || ((chunk.at + 16) >> 12 & 7) == 0;
  const bool look_alike =
      aligned && (!mangled_ || (begin_ >> 36) == 0 || (chunk.first >= begin_ && chunk.first < end_));
  const int kind = look_alike ? 0 : chunk.second == 0 ? 1 : aligned ? 2 : 3;
  static constexpr std::uint64_t kAlwaysChecked[kKinds] = {300000, 30000, 2000, 2000};
  Checks& checks = checks_[kind];
  // Where addresses are low, some links of a program's own lists look mangled, too, and lead on: those stay
  // live.
  if (mangled_ && (begin_ >> 36) == 0 && is_plain_link(chunk.first, chunk.size)) return false;
  const bool near = reader_.in_window(next, 24);
  const bool enough =
      checks.made > kAlwaysChecked[kind] && (kind < 2 || checks.refuted * kTolerated < checks.made);
  const std::uint64_t one_in = checks.skipped < kMany ? 16 : 1024;
  if (!near && enough && ++checks.skipped % one_in != 0) return checks.refuted * 2 < checks.made;
  const bool confirmed = leads_on(next, chunk.size, look_alike ? 2 : 1) && share_arena(chunk.at, next);
  if (!near) {
    ++checks.made;
    if (!confirmed) ++checks.refuted;
  }
  return confirmed;
}

}  // namespace mallard::heaps::glibc
