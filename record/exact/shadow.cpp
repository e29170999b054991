// SPDX-License-Identifier: Apache-2.0
#include "record/exact/shadow.hpp"

#include <string.h>
#include <sys/mman.h>

#include "base/attributes.hpp"
#include "base/os.hpp"
#include "base/parts.hpp"

namespace mallard::record {

constinit shadow::Window* shadow::g_windows = nullptr;

MALLARD_PART(shadow_windows, shadow::g_windows);

namespace {

using namespace shadow;

constexpr std::size_t kWindowBytes = kWindowWords * sizeof(Word);
constexpr unsigned kHighBits = 32 - kRowBits;  // of a size, in a word with row 0

Window* window_of(std::uintptr_t block) noexcept {
  const std::size_t index = block >> kWindowShift;
  return MALLARD_LIKELY(index < kWindows) ? &g_windows[index] : nullptr;
}

/// Address space that a host's mlockall(MCL_FUTURE) does not bring into memory.
void* map_untouched(std::size_t bytes) noexcept {
  void* p = os::reserve(bytes);
  if (!p) return nullptr;
  os::call(SYS_munlock, os::arg(p), static_cast<long>(bytes));
  os::call(SYS_madvise, os::arg(p), static_cast<long>(bytes), MADV_NOHUGEPAGE);
  if (os::protect(p, bytes, PROT_READ | PROT_WRITE)) return p;
  os::unmap(p, bytes);
  return nullptr;
}

MALLARD_COLD AtomicWord* make_level(std::atomic<AtomicWord*>& level) noexcept {
  auto* made = static_cast<AtomicWord*>(map_untouched(kWindowBytes));
  if (!made) return nullptr;
  AtomicWord* there = nullptr;
  if (level.compare_exchange_strong(there, made, std::memory_order_acq_rel)) return made;
  os::unmap(made, kWindowBytes);
  return there;
}

constexpr std::size_t kWordsPerPage = kPageBytes / sizeof(Word);

/// A page of another process's shadow.
struct CopiedPage {
  std::uintptr_t at;
  AtomicWord words[kWordsPerPage];
};

/// Where the shadow is another process's; its tables lie in that one.
struct Elsewhere {
  static constexpr std::size_t kInner = 32;
  const OtherParts* parts;
  CopiedPage levels[kLevels], inner[kInner];

  AtomicWord* read(CopiedPage& page, std::uintptr_t at) noexcept {
    if (page.at == at) return page.words;
    page.at = at;
    memset(static_cast<void*>(page.words), 0, sizeof page.words);
    parts->copy_in_memory(page.words, at, sizeof page.words);
    return page.words;
  }
  /// For use at once.
  AtomicWord* read_word(std::uintptr_t at) noexcept {
    const std::uintptr_t page = at & ~std::uintptr_t{kPageBytes - 1};
    return &read(inner[page / kPageBytes % kInner], page)[(at - page) / sizeof(Word)];
  }
};
constinit Elsewhere* g_elsewhere = nullptr;

bool pages_present(const void* table, std::size_t pages, unsigned char* present) noexcept {
  return g_elsewhere ? g_elsewhere->parts->process().pages_present(address_of(table), pages, present)
                     : os::pages_present(address_of(table), pages, present);
}

std::uint64_t resident_bytes(const void* table) noexcept {
  return g_elsewhere ? g_elsewhere->parts->resident_bytes(address_of(table), kWindowBytes)
                     : os::resident_bytes(table, kWindowBytes);
}

/// The word of the n-th granule behind the block's first, which belongs to the block as a whole. It may be in
/// the next window. \return nullptr if there is no memory for it
AtomicWord* inner_word(std::uintptr_t block, unsigned n, bool make) noexcept {
  const std::uintptr_t inner = block + (std::uintptr_t{n} << kGranuleShift);
  Window* window = window_of(inner);
  if (!window) return nullptr;
  AtomicWord* table = window->levels[0].load(std::memory_order_acquire);
  if (!table && make) table = make_level(window->levels[0]);
  if (!table) return nullptr;
  AtomicWord* word = &table[granule_of(inner)];
  return g_elsewhere ? g_elsewhere->read_word(address_of(word)) : word;
}

std::uint64_t read_high(std::uintptr_t block, unsigned bits, bool clear) noexcept {
  std::uint64_t high = 0;
  unsigned at = 0;
  for (unsigned n = 1; at < bits; ++n, at += kHighBits) {
    AtomicWord* word = inner_word(block, n, false);
    if (!word) return high;
    const Word value = word->load(std::memory_order_relaxed);
    if (value & kRowMask) continue;  // another block began there: this one's free was not seen
    high |= std::uint64_t{value >> kRowBits} << at;
    if (clear && value) word->store(0, std::memory_order_relaxed);
  }
  return high;
}

}  // namespace

bool shadow_init() noexcept {
  if (!g_windows) g_windows = static_cast<Window*>(map_untouched(kWindows * sizeof(Window)));
  return g_windows != nullptr;
}

void shadow_release() noexcept {
  if (g_windows) os::unmap(g_windows, kWindows * sizeof(Window));
  g_windows = nullptr;
}

bool shadow::put_high(std::uintptr_t block, std::uint64_t high, unsigned bits) noexcept {
  for (unsigned n = 1; bits > 0; ++n) {
    AtomicWord* word = inner_word(block, n, true);
    if (!word) return false;
    word->store(static_cast<Word>(high) << kRowBits, std::memory_order_relaxed);
    high >>= kHighBits;
    bits -= bits < kHighBits ? bits : kHighBits;
  }
  return true;
}

Put shadow::put_further(std::uintptr_t block, Word mine, ShadowBlock* replaced) noexcept {
  Window* window = window_of(block);
  if (!window || block & 7) return Put::kNoMemory;
  const std::size_t granule = granule_of(block);
  for (auto& level : window->levels) {
    AtomicWord* table = level.load(std::memory_order_acquire);
    if (MALLARD_UNLIKELY(!table) && !(table = make_level(level))) return Put::kNoMemory;
    AtomicWord& word = table[granule];
    Word old = word.load(std::memory_order_relaxed);
    while (!(old & kRowMask))
      if (MALLARD_LIKELY(
              word.compare_exchange_weak(old, mine, std::memory_order_release, std::memory_order_relaxed)))
        return Put::kNew;
    if (MALLARD_LIKELY((old ^ mine) & kOffsetMask)) continue;  // a neighbour's
    *replaced = {old & kRowMask, old >> kLowShift};
    word.store(mine, std::memory_order_release);
    return Put::kReplaced;
  }
  return Put::kNoMemory;
}

bool shadow::take_further(std::uintptr_t block, ShadowBlock* taken) noexcept {
  Window* window = window_of(block);
  const std::size_t granule = granule_of(block);
  for (unsigned i = 1; i < kLevels; ++i) {
    AtomicWord* table = window->levels[i].load(std::memory_order_acquire);
    if (!table) return false;
    AtomicWord& word = table[granule];
    const Word there = word.load(std::memory_order_relaxed);
    if (!(there & kRowMask) || (there & kOffsetMask) != offset_of(block)) continue;
    word.store(0, std::memory_order_relaxed);
    *taken = {there & kRowMask, there >> kLowShift};
    return true;
  }
  return false;
}

std::uint64_t shadow_take_high(std::uintptr_t block, unsigned bits) noexcept {
  return read_high(block, bits - kLowBits, true) << kLowBits;
}

namespace {

/// mincore() does not tell swapped pages from those that were never written: where there are any, or nobody
/// tells, every page is read.
bool may_be_swapped() noexcept {
  if (g_elsewhere) return g_elsewhere->parts->may_be_swapped();
  char status[4096];
  if (os::read_file("/proc/self/status", status, sizeof status) <= 0) return true;
  const char* line = strstr(status, "\nVmSwap:");
  if (!line) return true;
  for (line += 8; *line == ' ' || *line == '\t'; ++line) {
  }
  return *line != '0';
}

template <typename Do>
void for_each_window(std::uintptr_t begin, std::uintptr_t end, bool read_all, Do act) noexcept {
  if (!g_windows) return;
  // The table of windows is sparse itself: its pages that were never written hold no window.
  constexpr std::size_t kPerPage = kPageBytes / sizeof(Window);
  const std::size_t first = begin >> kWindowShift;
  std::size_t last = (end - 1) >> kWindowShift;
  if (last >= kWindows) last = kWindows - 1;
  for (std::size_t page = first / kPerPage; page <= last / kPerPage; ++page) {
    if (!read_all && os::resident_bytes(&g_windows[page * kPerPage], kPageBytes) == 0) continue;
    for (std::size_t i = page * kPerPage; i < (page + 1) * kPerPage; ++i)
      if (i >= first && i <= last && g_windows[i].levels[0].load(std::memory_order_acquire)) act(i);
  }
}

constexpr std::size_t kPagesAtOnce = 256;

struct Walk {
  std::uintptr_t begin, end;
  bool read_all;  ///< also pages of which mincore() knows nothing
  unsigned (*bits_of)(std::uint32_t);
  void (*visit)(std::uintptr_t, std::uint32_t, std::uint64_t, void*);
  void* opaque;
};

void visit(const Walk& walk, std::uintptr_t granule, Word word) noexcept {
  const std::uintptr_t block = granule + ((word & kOffsetMask) >> kRowBits) * 8;
  if (block < walk.begin || block >= walk.end) return;
  const unsigned bits = walk.bits_of(word & kRowMask);
  const std::uint64_t high = bits <= kLowBits ? 0 : read_high(block, bits - kLowBits, false) << kLowBits;
  walk.visit(block, word & kRowMask, high | (word >> kLowShift), walk.opaque);
}

/// Words `first` to `last` of all levels, each granule's by offset.
/// \param tables  where the words from `tables_from` on stand
void visit_words(const Walk& walk, std::size_t window, AtomicWord* const* tables, unsigned levels,
                 std::size_t tables_from, std::size_t first, std::size_t last) noexcept {
  for (std::size_t i = first; i < last; ++i) {
    Word here[kLevels];
    unsigned count = 0;
    for (unsigned level = 0; level < levels; ++level) {
      const Word word = tables[level][i - tables_from].load(std::memory_order_acquire);
      if (!(word & kRowMask)) continue;
      unsigned at = count++;
      for (; at > 0 && (here[at - 1] & kOffsetMask) > (word & kOffsetMask); --at) here[at] = here[at - 1];
      here[at] = word;
    }
    for (unsigned n = 0; n < count; ++n)
      visit(walk, (std::uintptr_t{window} << kWindowShift) + (i << kGranuleShift), here[n]);
  }
}

void visit_window(const Walk& walk, std::size_t window) noexcept {
  const std::uintptr_t base = std::uintptr_t{window} << kWindowShift;
  std::size_t first = walk.begin > base ? (walk.begin - base) >> kGranuleShift : 0;
  std::size_t last = kWindowWords;
  if (walk.end - base < (std::uintptr_t{1} << kWindowShift))
    last = (walk.end - base + ((1u << kGranuleShift) - 1)) >> kGranuleShift;
  for (std::size_t at = first; at < last;) {
    const std::size_t piece_begin = at & ~(kWordsPerPage - 1);
    const std::size_t left = (last - piece_begin + kWordsPerPage - 1) / kWordsPerPage;
    const std::size_t pages = left < kPagesAtOnce ? left : kPagesAtOnce;
    unsigned char present[kLevels][kPagesAtOnce];
    for (unsigned level = 0; level < kLevels; ++level) {
      AtomicWord* table = g_windows[window].levels[level].load(std::memory_order_acquire);
      if (!table || walk.read_all || !pages_present(&table[piece_begin], pages, present[level]))
        memset(present[level], table != nullptr, pages);
    }
    for (std::size_t page = 0; page < pages && at < last; ++page) {
      const std::size_t page_begin = piece_begin + page * kWordsPerPage,
                        page_end = page_begin + kWordsPerPage;
      const std::size_t stop = page_end < last ? page_end : last;
      AtomicWord* tables[kLevels];
      unsigned levels = 0;
      for (unsigned level = 0; level < kLevels; ++level)
        if (present[level][page] & 1) {
          AtomicWord* words = g_windows[window].levels[level].load(std::memory_order_acquire) + page_begin;
          tables[levels++] =
              g_elsewhere ? g_elsewhere->read(g_elsewhere->levels[level], address_of(words)) : words;
        }
      if (levels) visit_words(walk, window, tables, levels, page_begin, at, stop);
      at = stop;
    }
  }
}

}  // namespace

void shadow_for_each(std::uintptr_t begin, std::uintptr_t end, unsigned (*bits_of)(std::uint32_t row),
                     void (*visit)(std::uintptr_t, std::uint32_t, std::uint64_t, void*),
                     void* opaque) noexcept {
  if (begin >= end) return;
  // A report asks for one slab after the other: reading costs less than asking what can be left out.
  constexpr std::uintptr_t kFew = 4 << 20;
  const bool read_all = end - begin <= kFew || may_be_swapped();
  const Walk walk{begin, end, read_all, bits_of, visit, opaque};
  for_each_window(begin, end, walk.read_all, [&](std::size_t window) { visit_window(walk, window); });
}

void shadow_clear() noexcept {
  for_each_window(0, UINTPTR_MAX, may_be_swapped(), [](std::size_t window) {
    for (auto& level : g_windows[window].levels)
      if (AtomicWord* table = level.load(std::memory_order_acquire))
        os::call(SYS_madvise, os::arg(table), kWindowBytes, MADV_DONTNEED);
  });
}

bool shadow_adopt(const OtherParts& parts) noexcept {
  Window* theirs = nullptr;
  if (!parts.copy_of(g_windows, &theirs)) return false;
  shadow_release();
  if (!theirs) return true;
  if (!g_elsewhere) g_elsewhere = static_cast<Elsewhere*>(os::map_sparse(sizeof(Elsewhere)));
  if (!g_elsewhere || !shadow_init()) return false;
  for (CopiedPage& page : g_elsewhere->levels) page.at = 0;
  for (CopiedPage& page : g_elsewhere->inner) page.at = 0;
  g_elsewhere->parts = &parts;
  return parts.copy_in_memory(g_windows, address_of(theirs), kWindows * sizeof(Window));
}

std::uint64_t shadow_own_bytes() noexcept {
  if (!g_windows) return 0;
  std::uint64_t bytes = os::resident_bytes(g_windows, kWindows * sizeof(Window));
  for_each_window(0, UINTPTR_MAX, false, [&](std::size_t window) {
    for (auto& level : g_windows[window].levels)
      if (AtomicWord* table = level.load(std::memory_order_acquire)) bytes += resident_bytes(table);
  });
  return bytes;
}

}  // namespace mallard::record
