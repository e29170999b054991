// SPDX-License-Identifier: Apache-2.0
// Copies of pages of another process that are in memory, for a search that jumps from block to block. Other
// pages are not read: that would bring them in. Context: offline, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/attributes.hpp"
#include "base/os.hpp"
#include "base/pauses.hpp"
#include "base/process_memory.hpp"

namespace mallard::outside {

class PageCache {
 public:
  /// \param present  what of the process is in memory, ascending; stays as long as this object
  PageCache(const ProcessMemory& process, std::span<const AddressRange> present) noexcept
      : process_(process), present_(present) {
    pages_ = static_cast<std::uintptr_t*>(os::map_sparse(kSlots * sizeof *pages_));
    copies_ = static_cast<unsigned char*>(os::map_sparse(kBytes));
    met_ = static_cast<std::uintptr_t*>(os::map_sparse(kMet * sizeof *met_));
  }
  ~PageCache() {
    if (pages_) os::unmap(pages_, kSlots * sizeof *pages_);
    if (copies_) os::unmap(copies_, kBytes);
    if (met_) os::unmap(met_, kMet * sizeof *met_);
    if (memory_file_ >= 0) os::close(static_cast<int>(memory_file_));
  }
  PageCache(const PageCache&) = delete;
  PageCache& operator=(const PageCache&) = delete;

  bool has_memory() const noexcept { return pages_ && copies_ && met_; }

  /// Calls visit(word) for each aligned word of [begin, end) that is in memory and can be copied.
  template <class Visit>
  void each_word(std::uintptr_t begin, std::uintptr_t end, Visit visit) noexcept {
    begin = align_up(begin, sizeof(std::uint64_t));
    for (std::uintptr_t at = begin; at + sizeof(std::uint64_t) <= end;) {
      const std::uintptr_t page = at & ~(kPageBytes - 1);
      const std::uintptr_t stop = end < page + kPageBytes ? end : page + kPageBytes;
      const unsigned char* copy = page_at(page);
      if (!copy) {
        if (is_present_) at = page + kPageBytes;
        else at = next_present(page + kPageBytes, end);
        continue;
      }
      for (; at + sizeof(std::uint64_t) <= stop; at += sizeof(std::uint64_t)) {
        std::uint64_t word;
        __builtin_memcpy(&word, copy + (at - page), sizeof word);
        visit(word);
      }
      at = page + kPageBytes;
    }
  }

  /// Whether what is asked for is short and lies alone: on a page that was not asked for lately. Several such
  /// pieces are better copied by copy_pieces() than their pages one by one.
  bool is_piece(std::uintptr_t begin, std::uint64_t bytes) noexcept {
    const std::uintptr_t page = begin & ~(kPageBytes - 1), number = page / kPageBytes;
    if (bytes > kPieceBytes || begin + bytes > page + kPageBytes || pages_[number % kSlots] == page)
      return false;
    std::uintptr_t& met = met_[number % kMet];
    if (met == page) return false;
    met = page;
    return next_present(page, page + kPageBytes) == page;
  }
  static constexpr std::size_t kPieceBytes = 256;
  /// Copies kPieceBytes around each of `begins`, which is_piece() was true of. Calls visit(i, words), words
  /// beginning at begins[i], for those that could be had. \param room  for kPieceBytes each
  template <class Visit>
  void copy_pieces(const std::uintptr_t* begins, std::size_t count, unsigned char* room,
                   Visit visit) noexcept {
    std::uintptr_t from[os::kMaxPieces];
    for (std::size_t i = 0; i < count; ++i) {
      const std::uintptr_t last = (begins[i] & ~(kPageBytes - 1)) + kPageBytes - kPieceBytes;
      from[i] = begins[i] < last ? begins[i] : last;
    }
    for (std::size_t done = 0; done < count; ++done) {  // one that is gone is left out
      pauses_.after_a_call();
      const std::size_t got = process_.copy_pieces(room, from + done, count - done, kPieceBytes);
      for (std::size_t i = 0; i < got; ++i)
        visit(done + i, room + i * kPieceBytes + (begins[done + i] - from[done + i]));
      done += got;
    }
  }

  /// The first page from `at` on that is in memory; `end` if there is none before it.
  std::uintptr_t next_present(std::uintptr_t at, std::uintptr_t end) const noexcept;
  /// Where the pages in memory end that begin at `at`.
  std::uintptr_t present_end(std::uintptr_t at, std::uintptr_t end) const noexcept;
  std::uint64_t present_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept;

  /// Whether pages that the process itself may not read are read all the same, as debuggers do. Not for
  /// mappings of devices, whose memory may act on being read.
  void read_protected(bool wanted) noexcept { reads_protected_ = wanted; }
  /// Bytes of pages in memory that could not be copied.
  std::uint64_t refused_bytes() const noexcept { return refused_; }

  static constexpr std::size_t kSlots = 1024, kBytes = kSlots * kPageBytes;

 private:
  static constexpr std::size_t kAhead = 16, kMet = 1 << 14;

  /// The copy of a page; nullptr if it is not in memory or not to be had. Pages after it are copied along
  /// where the search goes on from page to page.
  const unsigned char* page_at(std::uintptr_t page) noexcept {
    const std::size_t slot = page / kPageBytes % kSlots;
    if (MALLARD_LIKELY(pages_[slot] == page)) return copies_ + slot * kPageBytes;
    return fill(page);
  }
  const unsigned char* fill(std::uintptr_t page) noexcept;
  bool copy_protected(std::uintptr_t page, unsigned char* to) noexcept;
  const AddressRange* range_after(std::uintptr_t at) const noexcept;

  const ProcessMemory& process_;
  std::span<const AddressRange> present_;
  std::uintptr_t* pages_;
  unsigned char* copies_;
  std::uintptr_t* met_;  ///< pages that were asked for lately
  std::uintptr_t last_ = 0;
  std::size_t ahead_ = 1;
  bool is_present_ = false;  ///< the page that was asked for last
  bool reads_protected_ = false;
  long memory_file_ = -1;  ///< /proc/PID/mem, once it was needed
  std::uint64_t refused_ = 0;
  Pauses pauses_{4'000'000};  // somebody waits for the answer; the host's mmap waits as long at most
  unsigned calls_ = 0;
  mutable std::size_t hint_ = 0;
};

}  // namespace mallard::outside
