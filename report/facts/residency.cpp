// SPDX-License-Identifier: Apache-2.0
#include "report/facts/residency.hpp"

#include <algorithm>

#include "base/os.hpp"
#include "report/facts/page_scanner.hpp"

namespace mallard::report {
namespace {

using Content = ScanRange::Content;

/// From these sizes on a range comes last, and is asked no further than there is reason to. 1 GiB takes under
/// a millisecond; of inaccessible ranges there may be thousands (arenas, stacks).
constexpr std::uintptr_t kLargeBytes = std::uintptr_t{1} << 30, kLargeInaccessibleBytes = 32u << 20;
/// Time of work for the large ranges, beyond the address space that is asked whatever it takes: what a report
/// finds in reservations of usual sizes (64 GiB take 0.06 to 0.2 s) must not depend on how busy the machine is.
constexpr std::uint64_t kLargeRangesNs = 120'000'000;
constexpr std::uint64_t kAlwaysAskedBytes = std::uint64_t{64} << 30;
/// A mapping with this much in memory is walked for smaps in one hold of the lock, in some 1.5 ms.
constexpr std::uint64_t kQuickToWalk = 256u << 20;
/// A mapping takes smaps 4 us, whatever it holds.
constexpr std::size_t kFewRanges = 4096;

std::uint64_t take(std::uint64_t* from, std::uint64_t bytes) noexcept {
  const std::uint64_t taken = std::min(*from, bytes);
  *from -= taken;
  return taken;
}

bool is_large(const ScanRange& range) noexcept {
  return range.end - range.begin >=
         (range.content == Content::kInaccessible ? kLargeInaccessibleBytes : kLargeBytes);
}

/// Scans ranges so that address space without pages costs little, though the kernel tells of each page that
/// it is not there.
class Search {
 public:
  Search(Arena& arena, const ProcessMemory& process, PageScanner& scanner, ResidentRuns& runs,
         ResidencyMethod method) noexcept
      : arena_(arena), process_(process), scanner_(scanner), runs_(runs), method_(method), large_(arena) {}

  /// By pagemap or mincore. \return false if memory is out
  bool run(std::span<const ScanRange> ranges, std::uint64_t rss) noexcept {
    std::uint64_t most = 0, found = 0;
    for (const ScanRange& range : ranges) {
      const std::uint64_t before = runs_.bytes();
      if (is_large(range)) large_.add(range);
      else if (!scanner_.scan(method_, range.begin, range.end)) return false;
      most = std::max(most, runs_.bytes() - before);
      // By mincore a file counts as far as the page cache holds it.
      if (method_ != ResidencyMethod::kMincore || range.content != Content::kFile)
        found += runs_.bytes() - before;
    }
    if (large_.size() == 0) return !large_.out_of_memory();
    found -= std::min(found, scanner_.doubtful());
    std::uint64_t left = rss - std::min(rss, found);
    const bool quick = ranges.size() <= kFewRanges && std::max(most, left) <= kQuickToWalk;
    if (quick && read_smaps(arena_, process_, &smaps_)) return search_by_smaps();
    if (left <= rss / 256) return true;  // the kernel's counters may be as far off
    const std::span<ScanRange> all = large_.all();
    std::sort(all.begin(), all.end(), [](const ScanRange& a, const ScanRange& b) {
      const bool first = a.content != Content::kInaccessible, second = b.content != Content::kInaccessible;
      return first != second ? first : a.end - a.begin < b.end - b.begin;
    });
    for (const ScanRange& range : all)
      if (!search(range, &left)) return false;
    return true;
  }

  /// By smaps, which tells how much of each mapping is in memory, and mincore, which tells which pages of
  /// private anonymous memory are. \return false if memory is out
  bool run(std::span<const ScanRange> ranges, std::span<const SmapsEntry> smaps) noexcept {
    std::size_t i = 0;
    for (const SmapsEntry& mapping : smaps) {
      while (i < ranges.size() && ranges[i].end <= mapping.begin) ++i;
      for (std::size_t j = i; j < ranges.size() && ranges[j].begin < mapping.end; ++j) {
        const std::uintptr_t begin = std::max(mapping.begin, ranges[j].begin);
        const std::uintptr_t end = std::min(mapping.end, ranges[j].end);
        if (!add_mapping(mapping, {begin, end, ranges[j].content})) return false;
      }
    }
    return true;
  }

  std::uint64_t unread() const noexcept { return unread_; }
  std::span<const SmapsEntry> smaps() const noexcept { return smaps_; }

 private:
  bool add_mapping(const SmapsEntry& mapping, const ScanRange& range) noexcept {
    std::uint64_t resident = std::min<std::uint64_t>(mapping.resident, range.end - range.begin);
    if (resident == 0) return true;
    if (range.content == Content::kFile) {
      const std::uintptr_t split = range.begin + std::min(mapping.anonymous, resident);
      return (split == range.begin || runs_.add(range.begin, split, false, false)) &&
             (split == range.begin + resident || runs_.add(split, range.begin + resident, true, false));
    }
    if (resident == range.end - range.begin) return runs_.add(range.begin, range.end, false, false);
    const std::uint64_t before = runs_.bytes();
    if (!(is_large(range) ? search_known(range, resident) : scanner_.scan(method_, range.begin, range.end)))
      return false;
    // Which are pages of zeros that were only read, or in the swap cache, is not known: the last ones.
    runs_.drop_last(runs_.bytes() - std::min(runs_.bytes(), before + resident));
    return true;
  }

  bool search_by_smaps() noexcept {
    std::size_t i = 0;
    for (const ScanRange& range : large_.all()) {
      while (i < smaps_.size() && smaps_[i].end <= range.begin) ++i;
      for (std::size_t j = i; j < smaps_.size() && smaps_[j].begin < range.end; ++j) {
        const std::uintptr_t begin = std::max(smaps_[j].begin, range.begin);
        const std::uintptr_t end = std::min(smaps_[j].end, range.end);
        if (!search_known({begin, end, range.content}, smaps_[j].resident)) return false;
      }
    }
    return true;
  }

  /// Searches a range of which `resident` bytes are in memory. Those that are not found are counted where
  /// nobody looked.
  bool search_known(const ScanRange& range, std::uint64_t resident) noexcept {
    const std::uint64_t before = unread_;
    if (!search(range, &resident)) return false;
    const std::uint64_t unread = unread_ - before, rest = std::min(resident, unread);
    const std::uintptr_t at = range.end - unread;
    return rest == 0 || runs_.add(at, at + rest, range.content == Content::kFile, false);
  }

  /// Scans `range` from its begin until `left` bytes were found, or time and address space are up.
  bool search(const ScanRange& range, std::uint64_t* left) noexcept {
    // For a file, mincore asks the page cache, page by page.
    const bool sparse = range.content != Content::kFile;
    runs_.begin_sequence();
    for (std::uintptr_t at = range.begin, end; at < range.end && *left > 0; at = end) {
      if (began_ns_ == 0) began_ns_ = os::thread_work_ns();
      if (asked_ >= kAlwaysAskedBytes && os::thread_work_ns() - began_ns_ > kLargeRangesNs) {
        unread_ += range.end - at;
        return true;
      }
      end = at + std::min(PageScanner::kSparseBytes, range.end - at);
      asked_ += end - at;
      const std::uint64_t before = runs_.bytes();
      if (!(sparse ? scanner_.scan_sparse(method_, at, end) : scanner_.scan(method_, at, end))) return false;
      take(left, runs_.bytes() - before);
    }
    return true;
  }

  Arena& arena_;
  const ProcessMemory& process_;
  PageScanner& scanner_;
  ResidentRuns& runs_;
  const ResidencyMethod method_;
  Growing<ScanRange> large_;
  std::span<const SmapsEntry> smaps_;
  std::uint64_t began_ns_ = 0, asked_ = 0, unread_ = 0;
};

bool scan_all(PageScanner& scanner, std::span<const ScanRange> ranges) noexcept {
  for (const ScanRange& range : ranges)
    if (!scanner.scan(ResidencyMethod::kPagemapScan, range.begin, range.end)) return false;
  return true;
}

/// Resident bytes below `address`.
std::uint64_t bytes_below(std::span<const ResidentRun> runs, std::uintptr_t address) noexcept {
  const auto run = std::partition_point(runs.begin(), runs.end(),
                                        [address](const ResidentRun& r) { return r.end <= address; });
  if (run == runs.end()) return runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
  return run->before + (address > run->begin ? address - run->begin : 0);
}

}  // namespace

bool Residency::scan(Arena& arena, const ProcessMemory& process, std::span<const ScanRange> ranges,
                     std::uint64_t rss_bytes, ResidencyMethod best) noexcept {
  *this = Residency();
  ResidentRuns runs(arena);
  PageScanner scanner(arena, process, runs);
  ResidencyMethod method = scanner.choose(best);
  std::span<const SmapsEntry> smaps;
  if (method == ResidencyMethod::kMincore && best <= ResidencyMethod::kSmaps &&
      read_smaps(arena, process, &smaps))
    method = ResidencyMethod::kSmaps;
  Search search(arena, process, scanner, runs, method);
  const bool complete = method == ResidencyMethod::kPagemapScan ? scan_all(scanner, ranges)
                        : method == ResidencyMethod::kSmaps     ? search.run(ranges, smaps)
                        : method != ResidencyMethod::kNone && search.run(ranges, rss_bytes);
  if (!complete) return false;
  method_ = method;
  smaps_ = method == ResidencyMethod::kSmaps ? smaps : search.smaps();
  runs_ = runs.finish();
  vanished_ = scanner.vanished();
  unread_ = search.unread();
  return true;
}

std::uint64_t Residency::resident_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  return end > begin ? bytes_below(runs_, end) - bytes_below(runs_, begin) : 0;
}

std::uint64_t Residency::private_huge_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const SmapsEntry& mapping : smaps_) bytes += mapping.huge_pages;
  if (bytes > 0) return bytes;
  for (const ResidentRun& run : runs_) bytes += run.huge && !run.file ? run.end - run.begin : 0;
  return bytes;
}

std::uint64_t Residency::touched_page_bytes(std::uintptr_t begin, std::uintptr_t end) const noexcept {
  if (end <= begin) return 0;
  return resident_bytes(begin & ~std::uintptr_t{kPageBytes - 1}, align_up(end, kPageBytes));
}

}  // namespace mallard::report
