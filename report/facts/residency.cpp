// SPDX-License-Identifier: Apache-2.0
#include "report/facts/residency.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "base/arena.hpp"
#include "base/os.hpp"
#include "base/pauses.hpp"

namespace mallard::report {
namespace {

// The kernel's interface (linux/fs.h since 6.7), which older headers do not have.
struct PageRegion {
  std::uint64_t start, end, categories;
};
struct PagemapScanRequest {
  std::uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned kPagemapScan = _IOWR('f', 16, PagemapScanRequest);
constexpr std::uint64_t kFile = 1 << 2, kPresent = 1 << 3, kZeroPage = 1 << 5, kHuge = 1 << 6;

// An entry of /proc/self/pagemap.
constexpr std::uint64_t kEntryFile = std::uint64_t{1} << 61, kEntryPresent = std::uint64_t{1} << 63;

// The kernel holds the lock of the address space during one call, and a host that maps memory waits for it:
// pieces are short, and there are pauses between them.
constexpr std::uintptr_t kPieceBytes = 8u << 20;
constexpr std::size_t kPagesAtOnce = kPieceBytes / kPageBytes;
constexpr std::size_t kRegionsAtOnce = 1024;
// Where nothing is mapped in, the kernel skips whole page tables: pieces grow there, or a reservation of many
// terabytes would take minutes. The bound is for pages that are walked but not found (in swap, say).
constexpr std::uintptr_t kMostPieceBytes = 512u << 20;

/// Collects runs in address order, neighbours joined.
class Runs {
 public:
  explicit Runs(Arena& arena) noexcept : runs_(arena) {}

  bool add(std::uintptr_t begin, std::uintptr_t end, bool file, bool huge) noexcept {
    if (runs_.size() > 0) {
      ResidentRun& last = runs_[runs_.size() - 1];
      if (begin < last.end) begin = last.end;  // a huge page that begins before the piece
      if (begin >= end) return true;
      if (begin == last.end && file == last.file && huge == last.huge) {
        last.end = end;
        bytes_ += end - begin;
        return true;
      }
    }
    const std::uint64_t before = bytes_;
    bytes_ += end - begin;
    return runs_.add({begin, end, before, file, huge});
  }

  std::span<const ResidentRun> all() noexcept { return runs_.all(); }

 private:
  Growing<ResidentRun> runs_;
  std::uint64_t bytes_ = 0;
};

/// One way to ask the kernel. A method that does not work here says so at its first call.
class Scanner {
 public:
  Scanner(Arena& arena, const ProcessMemory& process, Runs& runs) noexcept
      : process_(process),
        runs_(runs),
        fd_(os::open(ProcessMemory::Path(process, "pagemap").c_str(), O_RDONLY)),
        arena_(arena) {}
  ~Scanner() {
    if (fd_ >= 0) os::close(static_cast<int>(fd_));
  }
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;

  /// \return the first method, from `best` on, that the kernel has; it is asked about the first page of all
  ResidencyMethod choose(ResidencyMethod best) noexcept {
    if (fd_ >= 0 && best <= ResidencyMethod::kPagemapScan) {
      regions_ = arena_.array<PageRegion>(kRegionsAtOnce);
      PagemapScanRequest request = request_for(0, kPageBytes);
      if (regions_ && ask(request) >= 0) return ResidencyMethod::kPagemapScan;
    }
    if (fd_ >= 0 && best <= ResidencyMethod::kPagemap) {
      entries_ = arena_.array<std::uint64_t>(kPagesAtOnce);
      if (entries_ && read_entries(0, 1) == 1) return ResidencyMethod::kPagemap;
    }
    present_ = arena_.array<unsigned char>(kPagesAtOnce);
    return present_ ? ResidencyMethod::kMincore : ResidencyMethod::kNone;
  }

  /// \return false if memory is out
  bool scan(ResidencyMethod method, std::uintptr_t begin, std::uintptr_t end) noexcept {
    switch (method) {
      case ResidencyMethod::kPagemapScan:
        return scan_pagemap(begin, end);
      case ResidencyMethod::kPagemap:
        return read_pagemap(begin, end);
      case ResidencyMethod::kMincore:
        return ask_mincore(begin, end);
      case ResidencyMethod::kNone:
        break;
    }
    return false;
  }

  std::uint64_t vanished() const noexcept { return vanished_; }

 private:
  PagemapScanRequest request_for(std::uintptr_t begin, std::uintptr_t end) const noexcept {
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

  long ask(PagemapScanRequest& request) const noexcept {
    return os::call(SYS_ioctl, fd_, static_cast<long>(kPagemapScan), os::arg(&request));
  }

  bool scan_pagemap(std::uintptr_t begin, std::uintptr_t end) noexcept {
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

  long read_entries(std::uintptr_t begin, std::size_t pages) const noexcept {
    const long bytes = os::pread(static_cast<int>(fd_), entries_, pages * sizeof *entries_,
                                 begin / kPageBytes * sizeof *entries_);
    return bytes < 0 ? bytes : bytes / static_cast<long>(sizeof *entries_);
  }

  bool read_pagemap(std::uintptr_t begin, std::uintptr_t end) noexcept {
    while (begin < end) {
      const std::size_t left = (end - begin) / kPageBytes;
      const long n = read_entries(begin, left < kPagesAtOnce ? left : kPagesAtOnce);
      pauses_.after_a_call();
      if (n <= 0) {
        vanished_ += end - begin;
        return true;
      }
      for (long i = 0; i < n; ++i, begin += kPageBytes)
        if ((entries_[i] & kEntryPresent) &&
            !runs_.add(begin, begin + kPageBytes, entries_[i] & kEntryFile, false))
          return false;
    }
    return true;
  }

  bool ask_mincore(std::uintptr_t begin, std::uintptr_t end) noexcept {
    for (std::size_t pages; begin < end; begin += pages * kPageBytes) {
      const std::size_t left = (end - begin) / kPageBytes;
      pages = left < kPagesAtOnce ? left : kPagesAtOnce;
      if (!ask_mincore_piece(begin, pages)) return false;
      pauses_.after_a_call();
    }
    return true;
  }

  /// A piece with a hole in it is refused as a whole: halves narrow the hole down.
  bool ask_mincore_piece(std::uintptr_t begin, std::size_t pages) noexcept {
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

  const ProcessMemory& process_;
  Runs& runs_;
  long fd_;
  Arena& arena_;
  PageRegion* regions_ = nullptr;
  std::uint64_t* entries_ = nullptr;
  unsigned char* present_ = nullptr;
  std::uint64_t vanished_ = 0;
  Pauses pauses_{150'000};
};

/// Resident bytes below `address`.
std::uint64_t bytes_below(std::span<const ResidentRun> runs, std::uintptr_t address) noexcept {
  const auto run = std::partition_point(runs.begin(), runs.end(),
                                        [address](const ResidentRun& r) { return r.end <= address; });
  if (run == runs.end()) return runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
  return run->before + (address > run->begin ? address - run->begin : 0);
}

}  // namespace

bool Residency::scan(Arena& arena, const ProcessMemory& process, std::span<const AddressRange> ranges,
                     ResidencyMethod best) noexcept {
  *this = Residency();
  Runs runs(arena);
  Scanner scanner(arena, process, runs);
  method_ = scanner.choose(best);
  for (const AddressRange& range : ranges)
    if (!scanner.scan(method_, range.begin, range.end)) {
      *this = Residency();
      return false;
    }
  runs_ = runs.all();
  vanished_ = scanner.vanished();
  return method_ != ResidencyMethod::kNone;
}

std::uint64_t Residency::resident_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  return end > begin ? bytes_below(runs_, end) - bytes_below(runs_, begin) : 0;
}

std::uint64_t Residency::private_huge_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const ResidentRun& run : runs_) bytes += run.huge && !run.file ? run.end - run.begin : 0;
  return bytes;
}

std::uint64_t Residency::touched_page_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  if (end <= begin) return 0;
  return resident_bytes(begin & ~std::uintptr_t{kPageBytes - 1}, align_up(end, kPageBytes));
}

}  // namespace mallard::report
