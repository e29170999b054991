// SPDX-License-Identifier: Apache-2.0
// Finds what a census needs of a tcmalloc that cannot be asked: the table of size classes by its form, the
// page map by pages of which some are its own, and the caches by the classes that they repeat. Facts from
// src/{common,thread_cache,central_freelist}.h of gperftools 2.8 to 2.18.
#include <string.h>

#include <algorithm>
#include <initializer_list>

#include "heaps/heap_reader.hpp"
#include "heaps/tcmalloc_caches.hpp"
#include "heaps/tcmalloc_pages.hpp"

namespace mallard::heaps {
namespace {

constexpr std::size_t kClasses = kTcmallocClasses, kWordsAtOnce = 4096;
constexpr std::int32_t kLargestSmallBlock = 256 << 10;
/// Spans that have to be described: each gives some 60 bits, which chance does not.
constexpr std::size_t kEnough = 3;

constinit PageCopies g_copies;

constexpr std::size_t kCacheBytes = kCacheTail + 512;

class Finder {
 public:
  Finder(const ProcessMemory& process, AddressRange data, TcmallocFound* out) noexcept
      : process_(process), data_(data), out_(*out) {}

  bool run(std::span<const std::uintptr_t> pages) noexcept {
    g_copies.begin(process_);
    if (!find_classes() || !find_map(pages)) return false;
    find_caches();
    find_transfer_caches();
    return true;
  }

 private:
  /// Calls `visit(at)` for each word of the data, in `word`-sized steps, until it returns true.
  template <class Word, class Visit>
  bool any_word(Visit visit) noexcept {
    static constinit unsigned char bytes[kWordsAtOnce * sizeof(std::uint64_t)]{};
    for (std::uintptr_t at = align_up(data_.begin, sizeof(Word)); at < data_.end;) {
      const std::size_t count = std::min<std::size_t>(sizeof bytes, data_.end - at);
      if (!process_.copy(bytes, at, count)) return false;
      for (std::size_t i = 0; i + sizeof(Word) <= count; i += sizeof(Word)) {
        Word word;
        memcpy(&word, bytes + i, sizeof word);
        if (visit(at + i, word)) return true;
      }
      at += count;
    }
    return false;
  }

  /// int32 class_to_size_[128]: from 0 over 8 or 16 up to 256 KiB, then zeros.
  bool is_table_of_classes(std::uintptr_t at) noexcept {
    std::int32_t sizes[kClasses];
    if (!process_.get(at, &sizes) || sizes[0] != 0 || (sizes[1] != 8 && sizes[1] != 16)) return false;
    std::size_t n = 1;
    while (n < kClasses && sizes[n] > sizes[n - 1] && sizes[n] % 8 == 0) ++n;
    if (n < 16 || sizes[n - 1] != kLargestSmallBlock) return false;
    if (!std::all_of(sizes + n, sizes + kClasses, [](std::int32_t size) { return size == 0; })) return false;
    for (std::size_t i = 0; i < kClasses; ++i) out_.class_bytes[i] = static_cast<std::uint64_t>(sizes[i]);
    count_ = n;
    // In front of it lies num_objects_to_move_, as many numbers.
    return process_.get(at - sizeof moved_, &moved_);
  }

  bool find_classes() noexcept {
    return any_word<std::int32_t>([this](std::uintptr_t at, std::int32_t word) {
      return (word == 8 || word == 16) && is_table_of_classes(at - sizeof word);
    });
  }

  bool describes_enough(const TcmallocMap& map, std::span<const std::uintptr_t> pages) noexcept {
    const TcmallocPageMap tree(process_, map);
    std::uintptr_t met[kEnough];
    std::size_t count = 0;
    unsigned misfits = 0;
    for (const std::uintptr_t page : pages) {
      if (++looks_ > kMostLooks) return false;
      TcmallocSpan span;
      bool is_all_there = true;
      const bool is_span = tree.try_read(page, &span, [&](std::uintptr_t from, std::uint64_t* to) {
        const bool is_there = g_copies.get(from, to);
        is_all_there &= is_there;
        return is_there;
      });
      if (!is_all_there && count == 0 && ++misfits == kMostMisfits) return false;
      if (!is_span || std::find(met, met + count, span.first_page) != met + count) continue;
      if (span.size_class() >= count_) continue;
      const std::uint64_t each = out_.class_bytes[span.size_class()];
      if (span.in_use() && each != 0 && span.handed_out() > (span.pages << map.page_shift) / each) return false;
      met[count++] = span.first_page;
      if (count == kEnough) return true;
    }
    return false;
  }

  bool find_map(std::span<const std::uintptr_t> pages) noexcept {
    for (const unsigned page_shift : kPageShifts)
      for (const unsigned levels : kPageMapLevels)
        for (std::size_t i = 0; i < pages.size() && looks_ <= kMostLooks; ++i)
          if (find_root(page_shift, levels, pages, i)) return true;
    return false;
  }

  /// By the entry of the root's table that leads to a page.
  bool find_root(unsigned page_shift, unsigned levels, std::span<const std::uintptr_t> pages,
                 std::size_t which) noexcept {
    const TcmallocMap form{0, page_shift, levels};
    const TcmallocPageMap tree(process_, form);
    const std::uintptr_t index = tree.index(0, pages[which]) * sizeof index;
    for (std::size_t i = 0; i < which; ++i)  // pages under one entry lead to the same search
      if (tree.index(0, pages[i]) * sizeof index == index) return false;
    return any_word<std::uint64_t>([&](std::uintptr_t at, std::uint64_t table) {
      if (table < kPageBytes || table % sizeof table != 0 || table >> 47 != 0 || at - data_.begin < index)
        return false;
      const TcmallocMap map{at - index, page_shift, levels};
      if (!describes_enough(map, pages)) return false;
      out_.map = map;
      return true;
    });
  }

  /// A ThreadCache repeats the sizes of the classes.
  bool is_cache(std::uintptr_t at) noexcept {
    std::int32_t size;
    if (at < kPageBytes || at % 8 != 0 || at >> 47 != 0) return false;
    for (const std::size_t i : {std::size_t{1}, std::size_t{2}, count_ / 2, count_ - 1})
      if (!process_.get(at + i * kListBytes + kSizeInList, &size) ||
          static_cast<std::uint64_t>(size) != out_.class_bytes[i])
        return false;
    return true;
  }

  /// The list of all caches begins in the data; where a cache has the next and the previous one follows from
  /// the second.
  void find_caches() noexcept {
    any_word<std::uint64_t>([this](std::uintptr_t, std::uint64_t word) {
      if (!is_cache(word)) return false;
      std::uint64_t tail[(kCacheBytes - kCacheTail) / sizeof(std::uint64_t)];
      if (!process_.copy(tail, word + kCacheTail, sizeof tail)) return false;
      out_.first_cache = word;
      out_.next_in_cache = 0;
      for (std::size_t i = 1; i < sizeof tail / sizeof *tail && out_.next_in_cache == 0; ++i) {
        std::uint64_t back;
        if (is_cache(tail[i]) && process_.get(tail[i] + kCacheTail + (i + 1) * sizeof back, &back) && back == word)
          out_.next_in_cache = kCacheTail + i * sizeof back;
      }
      return out_.next_in_cache != 0;  // only the head of the list has one behind it, or it is alone
    });
  }

  /// CentralFreeList of class i says so at its beginning; behind its slots it has how many are used, how many
  /// there are, and how many there may be.
  void find_transfer_caches() noexcept {
    constexpr std::uint64_t kLeast = 1024, kMost = 2048, kStep = 64;
    any_word<std::uint64_t>([&](std::uintptr_t at, std::uint64_t word) {
      for (std::uint64_t stride = kLeast; word == 1 && stride <= kMost; stride += kStep)
        if (are_numbered(at, stride) && find_slots(at, stride, kTransferSlots)) return true;
      return false;
    });
  }
  bool are_numbered(std::uintptr_t first, std::uint64_t stride) noexcept {
    for (std::size_t i = 2; i < count_; ++i) {
      std::uint64_t number;
      if (!process_.get(first + (i - 1) * stride, &number) || number != i) return false;
    }
    return true;
  }
  bool find_slots(std::uintptr_t first, std::uint64_t stride, std::uint64_t slots) noexcept {
    struct Counts {
      std::int32_t used, there, most;
    };
    for (std::uint64_t offset = slots * kSlotBytes; offset + sizeof(Counts) <= stride; offset += 4) {
      bool all = true;
      for (std::size_t i = 1; i < count_ && all; ++i) {
        Counts c;
        all = process_.get(first + (i - 1) * stride + offset, &c) && c.used >= 0 && c.used <= c.there &&
              c.there <= c.most && c.most > 0 && c.most <= static_cast<std::int32_t>(slots);
      }
      if (!all) continue;
      out_.first_transfer = first + offset;
      out_.transfer_stride = stride;
      std::copy(moved_, moved_ + kClasses, out_.moved);
      return true;
    }
    return false;
  }

  const ProcessMemory& process_;
  const AddressRange data_;
  TcmallocFound& out_;
  std::size_t count_ = 0;           ///< of classes, 0 included
  std::uint64_t looks_ = 0;
  std::int32_t moved_[kClasses]{};  ///< blocks that a transfer moves, by class
};

}  // namespace

bool find_tcmalloc(const ProcessMemory& process, AddressRange data, std::span<const std::uintptr_t> pages,
                   TcmallocFound* out) noexcept {
  *out = {};
  return Finder(process, data, out).run(pages);
}

bool is_tcmallocs(const ProcessMemory& process, const TcmallocFound& found, std::uintptr_t page) noexcept {
  TcmallocSpan span;
  return TcmallocPageMap(process, found.map).try_read(page, &span);
}

std::uint64_t cached_in(const ProcessMemory& process, const TcmallocFound& found) noexcept {
  std::uint64_t bytes = 0;
  std::uintptr_t at = found.first_cache;
  for (std::uint32_t n = 0; at != 0 && n < kMostCaches; ++n) {
    std::int32_t size = 0;
    std::uint64_t next = 0;
    if (!process.get(at + kCacheTail, &size)) break;
    if (size > 0) bytes += static_cast<std::uint64_t>(size);
    if (found.next_in_cache == 0 || !process.get(at + found.next_in_cache, &next)) break;
    at = next;
  }
  for (std::size_t i = 1; found.first_transfer != 0 && i < kClasses && found.class_bytes[i] != 0; ++i) {
    std::int32_t used = 0;
    if (process.get(found.first_transfer + (i - 1) * found.transfer_stride, &used) && used > 0 &&
        static_cast<std::uint64_t>(used) <= kTransferSlots)
      bytes += static_cast<std::uint64_t>(used) * static_cast<std::uint64_t>(std::max(found.moved[i], 0)) *
               found.class_bytes[i];
  }
  return bytes;
}

}  // namespace mallard::heaps
