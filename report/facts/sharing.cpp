// SPDX-License-Identifier: Apache-2.0
#include "report/facts/sharing.hpp"

#include <fcntl.h>

#include <algorithm>
#include <initializer_list>

#include "base/os.hpp"
#include "base/pagemap.hpp"
#include "base/pauses.hpp"

namespace mallard::report {
namespace {

using pagemap::kMappedOnce, pagemap::kOfFile, pagemap::kPresent;
// The kernel takes the lock of the address space for 2 MiB at a time.
constexpr std::size_t kPagesAtOnce = 2048;
// Runs that are nearer to each other are read at once.
constexpr std::uintptr_t kNearBytes = 64 * kPageBytes;

/// A part of a file as a mapping has it.
struct FilePart {
  std::uint64_t device, inode, begin, end;  ///< offsets in the file
  std::uintptr_t address;

  bool same_file(const FilePart& other) const noexcept {
    return device == other.device && inode == other.inode;
  }
};

/// Addresses of what this process has mapped of files more than once, ascending.
std::span<AddressRange> mapped_twice(Arena& arena, std::span<const Region> regions) noexcept {
  Growing<FilePart> parts(arena);
  Growing<AddressRange> twice(arena);
  for (const Region& r : regions)
    if (r.inode != 0) parts.add({r.device, r.inode, r.offset, r.offset + (r.end - r.begin), r.begin});
  const std::span<FilePart> all = parts.all();
  std::sort(all.begin(), all.end(), [](const FilePart& a, const FilePart& b) {
    if (a.device != b.device) return a.device < b.device;
    return a.inode != b.inode ? a.inode < b.inode : a.begin < b.begin;
  });
  // This is the part, of those met so far, that reaches farthest: each overlap of two is one with it, too.
  const FilePart* farthest = nullptr;
  for (const FilePart& part : all) {
    if (farthest && farthest->same_file(part) && part.begin < farthest->end) {
      const std::uint64_t end = std::min(part.end, farthest->end);
      for (const FilePart* p : {farthest, &part})
        twice.add({p->address + (part.begin - p->begin), p->address + (end - p->begin)});
    }
    if (!farthest || !farthest->same_file(part) || part.end > farthest->end) farthest = &part;
  }
  const std::span<AddressRange> ranges = twice.all();
  std::sort(ranges.begin(), ranges.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::size_t joined = 0;
  for (const AddressRange& range : ranges)
    if (joined > 0 && range.begin <= ranges[joined - 1].end)
      ranges[joined - 1].end = std::max(ranges[joined - 1].end, range.end);
    else ranges[joined++] = range;
  return ranges.first(joined);
}

/// Goes through pages in memory in the order of their addresses.
class Reader {
 public:
  Reader(std::span<Region> regions, std::span<const AddressRange> twice) noexcept
      : regions_(regions), twice_(twice) {}

  void add(std::uintptr_t page, std::uint64_t entry) noexcept {
    while (region_ < regions_.size() && regions_[region_].end <= page) ++region_;
    if (region_ == regions_.size() || regions_[region_].begin > page || !(entry & kPresent)) return;
    Region& region = regions_[region_];
    Sharing& sharing = entry & kOfFile ? region.in_files : region.in_no_file;
    if (entry & kMappedOnce) sharing.only_ours += kPageBytes;
    else if (!(entry & kOfFile) || !is_ours_twice(page)) sharing.with_others += kPageBytes;
  }

 private:
  bool is_ours_twice(std::uintptr_t page) noexcept {
    while (range_ < twice_.size() && twice_[range_].end <= page) ++range_;
    return range_ < twice_.size() && twice_[range_].begin <= page;
  }

  std::span<Region> regions_;
  std::span<const AddressRange> twice_;
  std::size_t region_ = 0, range_ = 0;
};

/// How many runs from the first on are read at once, up to `*end`.
std::size_t runs_at_once(std::span<const ResidentRun> runs, std::uintptr_t begin,
                         std::uintptr_t* end) noexcept {
  const std::uintptr_t most = begin + kPagesAtOnce * kPageBytes;
  std::size_t n = 1;
  while (n < runs.size() && runs[n].begin < most && runs[n].begin - runs[n - 1].end < kNearBytes) ++n;
  *end = std::min(most, runs[n - 1].end);
  return n;
}

}  // namespace

const char* find_sharing(Arena& arena, const ProcessMemory& process, const Residency& residency,
                         std::uint64_t budget_ns, Regions* regions, bool* unreadable) noexcept {
  constexpr const char* kUnreadable = "/proc/self/pagemap cannot be read";
  auto* entries = arena.array<std::uint64_t>(kPagesAtOnce);
  const std::span<AddressRange> twice = mapped_twice(arena, regions->all);
  const long fd = os::open(ProcessMemory::Path(process, "pagemap").c_str(), O_RDONLY);
  *unreadable = fd < 0;
  if (*unreadable || !entries) return *unreadable ? kUnreadable : "there is no memory for it";
  Reader reader(regions->all, twice);
  Pauses pauses{150'000};
  const char* why_not = nullptr;
  const std::uint64_t began = os::thread_work_ns();
  std::span<const ResidentRun> runs = residency.runs();
  for (std::uintptr_t begin = 0, end; !runs.empty() && !why_not; begin = end) {
    begin = std::max(begin, runs[0].begin);
    const std::size_t count = runs_at_once(runs, begin, &end);
    const long got = pagemap::read_entries(fd, begin, (end - begin) / kPageBytes, entries);
    pauses.after_a_call();
    if (got <= 0) why_not = kUnreadable;
    else if (os::thread_work_ns() - began > budget_ns)
      why_not = "there is too much of it to look at each page";
    const std::uintptr_t known = got > 0 ? begin + static_cast<std::uintptr_t>(got) * kPageBytes : begin;
    for (const ResidentRun& run : runs.first(count))
      for (std::uintptr_t page = std::max(run.begin, begin); page < std::min(run.end, known);
           page += kPageBytes)
        reader.add(page, entries[(page - begin) / kPageBytes]);
    while (!runs.empty() && runs[0].end <= end) runs = runs.subspan(1);
  }
  os::close(static_cast<int>(fd));
  return why_not;
}

}  // namespace mallard::report
