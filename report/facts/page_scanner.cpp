// SPDX-License-Identifier: Apache-2.0
#include "report/facts/page_scanner.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/pagemap.hpp"

namespace mallard::report {

// The kernel's interface (linux/fs.h since 6.7), which older headers do not have.
struct PageRegion {
  std::uint64_t start, end, categories;
};
struct PagemapScanRequest {
  std::uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

namespace {

constexpr unsigned kPagemapScan = _IOWR('f', 16, PagemapScanRequest);
constexpr std::uint64_t kFile = 1 << 2, kPresent = 1 << 3, kZeroPage = 1 << 5, kHuge = 1 << 6;

constexpr std::uintptr_t kPieceBytes = 8u << 20;
constexpr std::size_t kPagesAtOnce = kPieceBytes / kPageBytes;
constexpr std::size_t kRegionsAtOnce = 1024;
// Where nothing is mapped in, PAGEMAP_SCAN skips whole page tables: pieces grow there, or a reservation of
// many terabytes would take minutes. The bound is for pages that are walked but not found (in swap, say).
constexpr std::uintptr_t kMostPieceBytes = 512u << 20;

// What mincore says of this many pages is skipped or looked into as a whole: a page table.
constexpr std::size_t kBlockPages = 512;

/// Whether mincore says of any of kBlockPages pages that it is there.
bool any_present(const unsigned char* present) noexcept {
  std::uint64_t any = 0, words[8];
  for (std::size_t i = 0; i < kBlockPages; i += sizeof words) {
    __builtin_memcpy(words, present + i, sizeof words);
    for (const std::uint64_t word : words) any |= word;
  }
  return (any & 0x0101010101010101) != 0;
}

}  // namespace

PageScanner::PageScanner(Arena& arena, const ProcessMemory& process, ResidentRuns& runs) noexcept
    : process_(process),
      runs_(runs),
      fd_(os::open(ProcessMemory::Path(process, "pagemap").c_str(), O_RDONLY)),
      arena_(arena) {}

PageScanner::~PageScanner() {
  if (fd_ >= 0) os::close(static_cast<int>(fd_));
}

ResidencyMethod PageScanner::choose(ResidencyMethod best) noexcept {
  if (fd_ >= 0 && best <= ResidencyMethod::kPagemapScan) {
    regions_ = arena_.array<PageRegion>(kRegionsAtOnce);
    PagemapScanRequest request = request_for(0, kPageBytes);
    if (regions_ && ask(request) >= 0) return ResidencyMethod::kPagemapScan;
  }
  present_ = arena_.array<unsigned char>(kPagesAtOnce);
  if (fd_ >= 0 && best <= ResidencyMethod::kPagemap) {
    entries_ = arena_.array<std::uint64_t>(kPagesAtOnce);
    if (entries_ && pagemap::read_entries(fd_, 0, 1, entries_) == 1) return ResidencyMethod::kPagemap;
  }
  return present_ ? ResidencyMethod::kMincore : ResidencyMethod::kNone;
}

bool PageScanner::scan(ResidencyMethod method, std::uintptr_t begin, std::uintptr_t end) noexcept {
  switch (method) {
    case ResidencyMethod::kPagemapScan:
      return scan_pagemap(begin, end);
    case ResidencyMethod::kPagemap:
      return read_pagemap(begin, end);
    case ResidencyMethod::kSmaps:
    case ResidencyMethod::kMincore:
      return ask_mincore(begin, end);
    case ResidencyMethod::kNone:
      break;
  }
  return false;
}

bool PageScanner::scan_sparse(ResidencyMethod method, std::uintptr_t begin, std::uintptr_t end) noexcept {
  if (!sparse_) sparse_ = arena_.array<unsigned char>(kSparseBytes / kPageBytes);
  if (!sparse_) return false;
  const std::size_t pages = (end - begin) / kPageBytes;
  const bool told = process_.pages_present(begin, pages, sparse_);
  pauses_.after_a_call();
  if (!told) return scan(method, begin, end);
  for (std::size_t i = 0; i < pages; i += kBlockPages) {
    const std::size_t left = pages - i;
    if (left >= kBlockPages && !any_present(sparse_ + i)) continue;
    const std::uintptr_t at = begin + i * kPageBytes;
    if (!scan(method, at, at + (left < kBlockPages ? left : kBlockPages) * kPageBytes)) return false;
  }
  return true;
}

PagemapScanRequest PageScanner::request_for(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  PagemapScanRequest r{};
  r.size = sizeof r;
  r.start = begin;
  r.end = end;
  r.regions = address_of(regions_);
  r.region_count = kRegionsAtOnce;
  r.max_pages = kPagesAtOnce;
  r.category_inverted = kZeroPage;
  r.category_mask = kPresent | kZeroPage;
  r.return_mask = kFile | kHuge;
  return r;
}

long PageScanner::ask(PagemapScanRequest& request) const noexcept {
  return os::call(SYS_ioctl, fd_, static_cast<long>(kPagemapScan), os::arg(&request));
}

bool PageScanner::scan_pagemap(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (std::uintptr_t piece = kPieceBytes; begin < end;) {
    const std::uintptr_t piece_end = end - begin < piece ? end : begin + piece;
    PagemapScanRequest request = request_for(begin, piece_end);
    const long n = ask(request);
    pauses_.after_a_call();
    if (n < 0) {  // EINTR, or the kernel is out of memory for its buffer
      if (n == -EINTR || n == -EAGAIN) continue;
      vanished_ += piece_end - begin;
      begin = piece_end;
      continue;
    }
    if (n > 0) piece = kPieceBytes;
    else if (piece < kMostPieceBytes) piece *= 2;
    for (long i = 0; i < n; ++i) {
      const PageRegion& r = regions_[i];
      if (!runs_.add(r.start, r.end, r.categories & kFile, r.categories & kHuge)) return false;
    }
    begin = request.walk_end > begin ? request.walk_end : piece_end;
  }
  return true;
}

bool PageScanner::read_pagemap(std::uintptr_t begin, std::uintptr_t end) noexcept {
  while (begin < end) {
    const std::size_t left = (end - begin) / kPageBytes;
    const long n = pagemap::read_entries(fd_, begin, std::min(left, kPagesAtOnce), entries_);
    pauses_.after_a_call();
    if (n <= 0) {
      vanished_ += end - begin;
      return true;
    }
    for (long i = 0; i < n; ++i, begin += kPageBytes) {
      if (!(entries_[i] & pagemap::kPresent)) continue;
      if (!(entries_[i] & (pagemap::kOfFile | pagemap::kMappedOnce))) doubtful_ += kPageBytes;
      if (!runs_.add(begin, begin + kPageBytes, entries_[i] & pagemap::kOfFile, false)) return false;
    }
  }
  return true;
}

bool PageScanner::ask_mincore(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (std::size_t pages; begin < end; begin += pages * kPageBytes) {
    const std::size_t left = (end - begin) / kPageBytes;
    pages = left < kPagesAtOnce ? left : kPagesAtOnce;
    if (!ask_mincore_piece(begin, pages)) return false;
    pauses_.after_a_call();
  }
  return true;
}

/// A piece with a hole in it is refused as a whole: halves narrow the hole down.
bool PageScanner::ask_mincore_piece(std::uintptr_t begin, std::size_t pages) noexcept {
  if (!process_.pages_present(begin, pages, present_)) {
    if (pages == 1) {
      vanished_ += kPageBytes;
      return true;
    }
    const std::size_t half = pages / 2;
    return ask_mincore_piece(begin, half) && ask_mincore_piece(begin + half * kPageBytes, pages - half);
  }
  for (std::size_t i = 0; i < pages; ++i, begin += kPageBytes)
    if ((present_[i] & 1) && !runs_.add(begin, begin + kPageBytes, false, false)) return false;
  return true;
}

}  // namespace mallard::report
