// SPDX-License-Identifier: Apache-2.0
#include "outside/page_cache.hpp"

#include <fcntl.h>

#include <algorithm>

#include "heaps/heap_reader.hpp"

namespace mallard::outside {

const AddressRange* PageCache::range_after(std::uintptr_t at) const noexcept {
  return heaps::range_after(present_, at, &hint_);
}

std::uintptr_t PageCache::next_present(std::uintptr_t at, std::uintptr_t end) const noexcept {
  const AddressRange* range = range_after(at);
  if (!range || range->begin >= end) return end;
  return std::max(range->begin, at);
}

std::uintptr_t PageCache::present_end(std::uintptr_t at, std::uintptr_t end) const noexcept {
  const AddressRange* range = range_after(at);
  return range ? std::min(range->end, end) : end;
}

std::uint64_t PageCache::present_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  return range_after(begin) ? heaps::bytes_within(present_.subspan(hint_), begin, end) : 0;
}

/// process_vm_readv keeps to the rights of the mapping, this file does not.
bool PageCache::copy_protected(std::uintptr_t page, unsigned char* to) noexcept {
  if (!reads_protected_) return false;
  if (memory_file_ == -1) memory_file_ = os::open(ProcessMemory::Path(process_, "mem").c_str(), O_RDONLY);
  return memory_file_ >= 0 &&
         os::pread(static_cast<int>(memory_file_), to, kPageBytes, page) == static_cast<long>(kPageBytes);
}

const unsigned char* PageCache::fill(std::uintptr_t page) noexcept {
  const AddressRange* range = range_after(page);
  is_present_ = range && range->begin <= page;
  if (!is_present_) return nullptr;
  ahead_ = page == last_ + kPageBytes ? std::min(ahead_ * 2, kAhead) : 1;
  const std::size_t slot = page / kPageBytes % kSlots;
  std::size_t pages = std::min<std::size_t>(ahead_, kSlots - slot);
  pages = std::min<std::size_t>(pages, (range->end - page) / kPageBytes);
  for (std::size_t i = 0; i < pages; ++i) pages_[slot + i] = 0;
  if (++calls_ % 32 == 0) pauses_.after_a_call();
  if (!process_.copy(copies_ + slot * kPageBytes, page, pages * kPageBytes)) {
    pages = 1;  // what comes after it may be gone
    unsigned char* to = copies_ + slot * kPageBytes;
    if (!process_.copy(to, page, kPageBytes) && !copy_protected(page, to)) {
      refused_ += kPageBytes;
      return nullptr;
    }
  }
  for (std::size_t i = 0; i < pages; ++i) pages_[slot + i] = page + i * kPageBytes;
  last_ = page + (pages - 1) * kPageBytes;
  return copies_ + slot * kPageBytes;
}

}  // namespace mallard::outside
