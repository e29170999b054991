// SPDX-License-Identifier: Apache-2.0
// Reading the heap of a program that runs on, and adding up what was found.
#include <algorithm>

#include "base/os.hpp"
#include "heaps/glibc.hpp"
#include "heaps/heap_reader.hpp"

namespace mallard::heaps::glibc {

bool Reader::start() noexcept {
  buffer_ = static_cast<char*>(os::map(kWindowBytes));
  return buffer_ != nullptr;
}

Reader::~Reader() {
  if (buffer_) os::unmap(buffer_, kWindowBytes);
}

const AddressRange* Reader::run_after(std::uintptr_t at) noexcept {
  return range_after(resident_, at, &hint_);
}

/// Where nobody tells, the attempt to copy will.
bool Reader::is_present(std::uintptr_t page, std::size_t pages) const noexcept {
  unsigned char present[2];  // a piece of a page that is asked for touches two pages at most
  return !process_.pages_present(page, pages, present) ||
         std::all_of(present, present + pages, [](unsigned char p) { return p & 1; });
}

const std::uint64_t* Reader::fill(std::uintptr_t at, std::size_t bytes) noexcept {
  const std::uintptr_t page = at & ~(kPageBytes - 1);
  const std::size_t least = align_up(at + bytes - page, kPageBytes);
  const AddressRange* run = run_after(page);
  const bool listed = run && run->begin <= page && page + least <= run->end;
  // Where a chunk begins, memory was touched: it came in since the list was made, unless it is swapped out.
  if (!listed && !is_present(page, least / kPageBytes)) return nullptr;
  const bool sequential = page >= begin_ && page <= end_;
  window_ = !sequential ? kPageBytes : window_ < kWindowBytes ? window_ * 2 : window_;
  std::size_t length = !listed ? least : run->end - page < window_ ? run->end - page : window_;
  if (length < least) length = least;
  ++reads;
  pauses_.after_a_call();
  begin_ = end_ = 0;
  if (!process_.copy(buffer_, page, length)) {
    if (least >= length || !process_.copy(buffer_, page, least)) return nullptr;  // its end may be gone
    length = least;
  }
  begin_ = page;
  end_ = page + length;
  return reinterpret_cast<const std::uint64_t*>(buffer_ + (at - page));
}

bool Reader::copy(std::uintptr_t at, void* to, std::size_t bytes) noexcept {
  if (in_window(at, bytes)) {
    __builtin_memcpy(to, buffer_ + (at - begin_), bytes);
    return true;
  }
  const std::size_t kept = hint_;
  const AddressRange* run = run_after(at);
  hint_ = kept;
  if (!run || run->begin > at || at + bytes > run->end) return false;
  ++reads;
  pauses_.after_a_call();
  return process_.copy(to, at, bytes);
}

std::uintptr_t Reader::next_resident(std::uintptr_t at, std::uintptr_t end) noexcept {
  const AddressRange* run = run_after(at);
  if (!run || run->begin >= end) return end;
  return run->begin > at ? run->begin : at;
}

std::uint64_t Reader::resident_bytes(std::uintptr_t begin, std::uintptr_t end) noexcept {
  return run_after(begin) ? bytes_within(resident_.subspan(hint_), begin, end) : 0;
}

void PageTally::emit(std::uintptr_t begin, std::uintptr_t end, UnitKind kind, std::uint64_t live,
                     std::uint64_t overhead, std::uint64_t block) noexcept {
  if (end <= begin) return;
  const Unit unit{begin, end, kind, block, live, overhead};
  request_.report(unit);
}

void PageTally::flush(std::uintptr_t limit) noexcept {
  const std::uintptr_t end = page_ + kPageBytes < limit ? page_ + kPageBytes : limit;
  if (live_ > 0) emit(unit_, end, UnitKind::kBlocks, live_, overhead_);
  else if (overhead_ > 0) emit(unit_, end, metadata_ ? UnitKind::kMetadata : UnitKind::kBlocks, 0, overhead_);
  live_ = overhead_ = 0;
  metadata_ = false;
  page_ = unit_ = limit;
}

/// Leaves the current page for a later one.
void PageTally::go_to(std::uintptr_t page) noexcept {
  if (page == page_) return;
  // A page that live blocks keep only by the header of the next page's first block is one unit with that
  // page.
  if (!has_only_a_header() || page != page_ + kPageBytes) {
    flush(page);
    unit_ = page;
  }
  page_ = page;
}

void PageTally::add_across(std::uintptr_t from, std::uintptr_t to) noexcept {
  go_to(from & ~(kPageBytes - 1));
  overhead_ += 8;
  const std::uintptr_t next = page_ + kPageBytes;
  if (to <= next) {
    live_ += to - (from + 8);
    return;
  }
  live_ += next - (from + 8);
  const std::uintptr_t last = to & ~(kPageBytes - 1);
  if (last > next) {  // pages that it has to itself
    if (!has_only_a_header()) go_to(next);
    emit(unit_, last, UnitKind::kBlocks, last - next, overhead_);
    live_ = overhead_ = 0;
    page_ = unit_ = last;
  } else {
    go_to(last);
  }
  live_ += to - last;
}

void PageTally::add_metadata(std::uintptr_t chunk, std::uint64_t size) noexcept {
  const std::uintptr_t from = chunk + 8, to = from + size;
  go_to(from & ~(kPageBytes - 1));
  const std::uintptr_t next = page_ + kPageBytes;
  metadata_ = true;
  overhead_ += (to < next ? to : next) - from;
  if (to <= next) return;
  go_to(next);
  metadata_ = true;
  overhead_ += to - next;
}

}  // namespace mallard::heaps::glibc
