// SPDX-License-Identifier: Apache-2.0
#include "report/facts/page_use.hpp"

#include <algorithm>

#include "report/facts/sharing.hpp"
#include "report/facts/smaps.hpp"

namespace mallard::report {
namespace {

// 24 ns a page: 8 GiB of small pages.
constexpr std::uint64_t kSharingBudgetNs = 50'000'000;
// The kernel walks a mapping under the lock of the address space, 15 to 100 ns a page: 3 ms at most.
constexpr std::uint64_t kMostSmallPageBytes = 128u << 20;
// Where memory may be lazily freed, which nothing else tells: some 25 ms for each GiB of one mapping.
constexpr std::uint64_t kMostLazySmallPageBytes = std::uint64_t{8} << 30;
// Each costs some 3 us.
constexpr std::size_t kMostMappings = 10'000;

/// How much of one mapping may be small pages, for smaps to be read.
std::uint64_t most_small_page_bytes(const Rss& rss) noexcept {
  if (!rss.lazily_freed_known) return kMostLazySmallPageBytes;
  const bool much_is_freed = rss.walked && rss.lazily_freed > rss.anonymous / 100;
  return much_is_freed ? ~std::uint64_t{0} : kMostSmallPageBytes;  // as long as the walk that told
}

/// Why smaps is not read, or nullptr.
const char* why_no_smaps(const Residency& residency, std::span<const Region> regions,
                         std::uint64_t most_small_bytes) noexcept {
  if (regions.size() > kMostMappings) return "there are too many mappings to ask for each";
  std::uint64_t small = 0;
  std::uintptr_t end = 0;
  const std::span<const ResidentRun> runs = residency.runs();
  std::size_t run = 0;
  for (const Region& region : regions) {
    if (region.begin != end) small = 0;  // neighbours may be one mapping
    end = region.end;
    while (run < runs.size() && runs[run].end <= region.begin) ++run;
    for (std::size_t i = run; i < runs.size() && runs[i].begin < region.end; ++i)
      if (!runs[i].huge) small += std::min(region.end, runs[i].end) - std::max(region.begin, runs[i].begin);
    if (small > most_small_bytes)
      return "a mapping is so large that the kernel would hold up the process while it looks";
  }
  return nullptr;
}

/// What smaps says of a mapping, given to its regions by the part of it that each has in memory.
class Spread {
 public:
  Spread(const Residency& residency, bool with_sharing, PageUse* out) noexcept
      : residency_(residency), with_sharing_(with_sharing), out_(out) {}

  void add(const SmapsEntry& mapping, std::span<Region> regions) noexcept {
    const auto all = static_cast<double>(residency_.resident_bytes(mapping.begin, mapping.end));
    if (all <= 0) return;
    for (Region& region : regions) {
      const double part = static_cast<double>(residency_.resident_bytes(region.begin, region.end)) / all;
      if (region.owner == Owner::kFile) add_file(mapping, part, &region);
      if (with_sharing_) add_sharing(mapping, part, &region);
    }
  }

 private:
  static std::uint64_t share(double part, std::uint64_t bytes) noexcept {
    return static_cast<std::uint64_t>(part * static_cast<double>(bytes));
  }
  static std::uint64_t less(std::uint64_t from, std::uint64_t bytes) noexcept {
    return from - std::min(from, bytes);
  }

  void add_file(const SmapsEntry& mapping, double part, Region* region) noexcept {
    const std::uint64_t of_files = less(mapping.resident, mapping.anonymous);
    // Anonymous pages are dirty but for those that swap has a copy of.
    const std::uint64_t dirty = less(mapping.shared_dirty + mapping.private_dirty, mapping.anonymous);
    region->dirty_bytes = share(part, std::min(dirty, of_files));
    out_->dirty_files += region->dirty_bytes;
    if (mapping.locked > 0) out_->locked_files += share(part, of_files);
  }

  /// Where a mapping has pages of both kinds, smaps does not tell which are shared: changed copies of a
  /// file's pages are most often ours alone.
  void add_sharing(const SmapsEntry& mapping, double part, Region* region) noexcept {
    const std::uint64_t ours = mapping.private_clean + mapping.private_dirty;
    const std::uint64_t others = mapping.shared_clean + mapping.shared_dirty;
    const std::uint64_t our_copies = std::min(mapping.anonymous, ours);
    const std::uint64_t their_copies = std::min(less(mapping.anonymous, our_copies), others);
    region->in_no_file = {share(part, our_copies), share(part, their_copies)};
    region->in_files = {share(part, ours - our_copies), share(part, others - their_copies)};
  }

  const Residency& residency_;
  const bool with_sharing_;
  PageUse* out_;
};

void use_smaps(std::span<const SmapsEntry> smaps, Spread spread, std::span<Region> regions,
               PageUse* out) noexcept {
  std::size_t first = 0;
  for (const SmapsEntry& mapping : smaps) {
    out->proportional += mapping.proportional;
    out->lazily_freed += mapping.lazily_freed;
    while (first < regions.size() && regions[first].end <= mapping.begin) ++first;
    std::size_t behind = first;
    while (behind < regions.size() && regions[behind].begin < mapping.end) ++behind;
    spread.add(mapping, regions.subspan(first, behind - first));
  }
}

}  // namespace

void find_page_use(Arena& arena, const ProcessMemory& process, const Residency& residency, const Rss& rss,
                   std::span<const SmapsEntry> smaps, Regions* regions, PageUse* out) noexcept {
  bool by_smaps = false;
  out->sharing_why_not = find_sharing(arena, process, residency, kSharingBudgetNs, regions, &by_smaps);
  if (smaps.empty() && process.is_recorded())
    out->smaps_why_not = why_no_smaps(residency, regions->all, most_small_page_bytes(rss));
  if (smaps.empty() && !out->smaps_why_not && !read_smaps(arena, process, &smaps))
    out->smaps_why_not = "/proc/self/smaps cannot be read";
  out->has_smaps = !out->smaps_why_not;
  if (!out->has_smaps) return;
  if (by_smaps) out->sharing_why_not = nullptr;
  use_smaps(smaps, Spread(residency, by_smaps, out), regions->all, out);
  find_lazily_freed(smaps, residency, regions);
}

}  // namespace mallard::report
