// SPDX-License-Identifier: Apache-2.0
#include "report/facts/memory.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/arena.hpp"
#include "base/os.hpp"
#include "report/facts/kernel.hpp"

namespace mallard::report {
namespace {

/// What may hold pages: all but the kernel's own.
std::span<const ScanRange> ranges_of(Arena& arena, std::span<const Region> regions) noexcept {
  using Content = ScanRange::Content;
  Growing<ScanRange> ranges(arena);
  for (const Region& region : regions) {
    if (region.owner == Owner::kKernel) continue;
    const Content content = !region.private_anonymous            ? Content::kFile
                            : region.readable || region.writable ? Content::kAnonymous
                                                                 : Content::kInaccessible;
    if (ranges.size() > 0 && ranges[ranges.size() - 1].end == region.begin &&
        ranges[ranges.size() - 1].content == content)
      ranges[ranges.size() - 1].end = region.end;
    else ranges.add({region.begin, region.end, content});
  }
  return ranges.all();
}

/// One look at the mappings and at what of them is in memory.
void read_once(Arena& arena, const ProcessMemory& process, const Served& served, Memory* out) noexcept {
  *out = {};
  out->process = &process;
  const bool mapped = read_regions(arena, process, served, &out->regions);
  out->before = out->after = read_rss(process);  // after what takes memory of our own
  if (!out->before.known) return void(out->why_not = "/proc/self/status cannot be read");
  if (!mapped) return void(out->why_not = "/proc/self/maps cannot be read");
  if (!out->residency.scan(arena, process, ranges_of(arena, out->regions.all), out->before.total))
    return void(out->why_not = "the kernel does not tell which pages are in memory");
  out->after = read_rss(process);
  if (!out->after.known) out->after = out->before;
  out->known = true;
}

/// How far the pages that were found are from RSS, and RSS before from RSS after: what came, went or moved
/// while we looked.
double moved_part(const Memory& memory) noexcept {
  const std::span<const ResidentRun> runs = memory.residency.runs();
  const std::uint64_t found = runs.empty() ? 0 : runs.back().before + (runs.back().end - runs.back().begin);
  const auto [least, most] = std::minmax(memory.before.total, memory.after.total);
  const std::uint64_t off = found < least ? least - found : found > most ? found - most : 0;
  return most > 0 ? static_cast<double>(off + (most - least) / 2) / static_cast<double>(most) : 0;
}

/// The host's memory moves while we look: a few quick looks are made, and the one that saw least of it is
/// kept.
void read_calmest(Arena& arena, const ProcessMemory& process, const Served& served, Memory* out) noexcept {
  constexpr int kMostLooks = 4;
  constexpr double kStill = 0.003;
  // This is time of work: where others have the processors, a look takes longer, and sees more of what moves.
  constexpr std::uint64_t kQuickNs = 100'000'000;
  const std::uint64_t began = os::thread_work_ns();
  read_once(arena, process, served, out);
  for (out->looks = 1; out->looks < kMostLooks; ++out->looks) {
    // What mincore counts is something else.
    const bool page_tables = out->residency.method() <= ResidencyMethod::kSmaps;
    if (!out->known || !page_tables || moved_part(*out) <= kStill || os::thread_work_ns() - began > kQuickNs)
      return;
    Memory next;
    read_once(arena, process, served, &next);
    next.looks = out->looks;
    if (next.known && moved_part(next) < moved_part(*out)) *out = next;
  }
}

}  // namespace

void read_memory(Arena& arena, const ProcessMemory& process, const Served& served, Memory* out) noexcept {
  const std::uint64_t began = os::monotonic_ns();
  read_calmest(arena, process, served, out);
  if (Rss& rss = out->after; rss.known && !rss.walked)
    rss.lazily_freed_known = little_is_lazily_freed(process, rss);
  if (!out->known) return;
  for (Rss* rss : {&out->before, &out->after}) {
    if (rss->walked) continue;
    rss->huge_pages = out->residency.private_huge_bytes();
    for (const SmapsEntry& mapping : out->residency.smaps()) rss->lazily_freed += mapping.lazily_freed;
  }
  find_page_use(arena, process, out->residency, out->after, out->residency.smaps(), &out->regions, &out->use);
  recognise_allocators(arena, &out->regions);
  name_stacks(arena, &out->regions);
  if (out->use.has_smaps) out->after.lazily_freed = out->use.lazily_freed;
  out->scan_ns = os::monotonic_ns() - began;
}

}  // namespace mallard::report
