// SPDX-License-Identifier: Apache-2.0
// What the censuses of all versions of mimalloc share: finding the layout by blocks that are allocated for
// it, and reporting a page once its structure has been read.
#pragma once

#include "heaps/heap_reader.hpp"
#include "heaps/mimalloc.hpp"
#include "heaps/mimalloc_shapes.hpp"

namespace mallard::heaps {

/// Blocks that are there while a layout is looked for: several of one size, whose page counts them, and some
/// of other sizes, whose pages are elsewhere.
class MimallocProbes {
 public:
  static constexpr int kCount = 12;

  explicit MimallocProbes(const MimallocAccess& access) noexcept : access_(access) {}
  ~MimallocProbes() {
    for (int i = 0; i < count_; ++i) access_.free(blocks_[i]);
  }
  MimallocProbes(const MimallocProbes&) = delete;
  MimallocProbes& operator=(const MimallocProbes&) = delete;

  /// Allocates one block more. \return false if there are enough, or there is no memory
  bool next() noexcept;
  std::uintptr_t block() const noexcept { return address_of(blocks_[count_ - 1]); }
  std::uint64_t usable() const noexcept { return access_.usable_size(blocks_[count_ - 1]); }

 private:
  const MimallocAccess& access_;
  void* blocks_[kCount] = {};
  int count_ = 0;
};

/// Whether one shape has described all blocks so far, and how often its page was seen to count one.
class MimallocCandidate {
 public:
  /// \param s  the structure of the page of one more block; nullptr if it does not describe the block
  void add(const MimallocStructure* s) noexcept;
  bool fits() const noexcept { return fits_ && counted_ >= kNeeded; }
  bool is_out() const noexcept { return !fits_; }

 private:
  static constexpr int kNeeded = 4;
  bool fits_ = true;
  int counted_ = 0;
  std::uintptr_t page_ = 0;
  std::uint64_t used_ = 0;
};

/// What a page structure says of its page.
struct MimallocPage {
  std::uintptr_t begin, end;  ///< the slices of the page
  std::uint64_t block_bytes;
  std::uint64_t used;          ///< blocks in use or on the thread-free list
  std::uint64_t reserved;      ///< blocks that fit
  std::uintptr_t thread_free;  ///< blocks freed by other threads that the owner has not collected yet
  std::uint64_t keys[2];       ///< of the links of that list; 0: they are plain
  std::uintptr_t structure;    ///< the link that ends an encoded list leads here
  bool ownerless;              ///< no thread's heap has it
  std::uintptr_t first_block = 0;               ///< 0: not told
  std::uintptr_t free_lists[2] = {};            ///< blocks that the owner has free
};

/// Reports pages that hold live blocks. Thread-free lists are what takes long. Where there are more of them
/// than the budget allows, pages chosen by a hash of their address, with or without a list, stand for the
/// rest.
class MimallocPages {
 public:
  explicit MimallocPages(const CensusRequest& request) noexcept
      : request_(request), resident_(request.resident) {}

  /// Calls `sweep`, which calls report() for every page: once, or twice where the lists have to be counted
  /// first.
  template <typename Sweep>
  CensusResult run(Sweep sweep) noexcept {
    std::uint64_t resident_bytes = 0;
    for (const AddressRange& r : request_.resident) resident_bytes += r.end - r.begin;
    if (resident_bytes > request_.budget_bytes) {
      counting_ = true;
      sweep();
      counting_ = false;
      result.raced = 0;
      if (request_.budget_bytes > 0) one_in_ += list_bytes_ / request_.budget_bytes;
    }
    sweep();
    result.done = true;
    return result;
  }

  /// Pages should come in ascending order. \param freed blocks known to be free besides the thread-free list
  void report(const MimallocPage& page, std::uint64_t freed) noexcept;
  /// A page without a live block, which a thread's heap keeps.
  void keep(std::uintptr_t begin, std::uintptr_t end) noexcept {
    if (!counting_ && begin < end) result.free_memory.kept_pages += resident_.bytes_within(begin, end);
  }
  /// The allocator's books.
  void report_metadata(std::uintptr_t begin, std::uintptr_t end) noexcept {
    if (!counting_ && begin < end) request_.report({begin, end, UnitKind::kMetadata, 0, 0, 0});
  }

  CensusResult result{.unit_name = "page of mimalloc"};

 private:
  std::uint64_t thread_free_length(const MimallocPage& page) noexcept;
  void report_blocks(const MimallocPage& page) noexcept;
  bool is_link(const MimallocPage& page, std::uintptr_t at) const noexcept;

  const CensusRequest& request_;
  RangeCursor resident_;
  bool counting_ = false;
  std::uint64_t list_bytes_ = 0;  ///< pages with a thread-free list
  std::uint64_t one_in_ = 1;      ///< so many pages are examined
};

/// The censuses by family; find_*: the layout that has that family, or one without a shape.
MimallocLayout find_mimalloc_segments(const MimallocAccess& access, const ProcessMemory& process) noexcept;
MimallocLayout find_mimalloc_page_map(const MimallocAccess& access, const ProcessMemory& process) noexcept;
/// Finds the layout in another process, by pages that may be its own.
MimallocLayout find_mimalloc_segments(const ProcessMemory& process,
                                      std::span<const std::uintptr_t> pages) noexcept;
MimallocLayout find_mimalloc_page_map(const ProcessMemory& process, AddressRange data,
                                      std::span<const std::uintptr_t> pages) noexcept;
/// Whether `page` lies in memory of that layout.
bool is_in_mimalloc_segment(const ProcessMemory& process, const MimallocLayout& layout,
                            std::uintptr_t page) noexcept;
bool is_in_mimalloc_page(const ProcessMemory& process, const MimallocLayout& layout,
                         std::uintptr_t page) noexcept;
CensusResult census_of_mimalloc_segments(const MimallocLayout& layout, const CensusRequest& request) noexcept;
CensusResult census_of_mimalloc_page_map(const MimallocLayout& layout, const CensusRequest& request) noexcept;

}  // namespace mallard::heaps
