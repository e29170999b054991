// SPDX-License-Identifier: Apache-2.0
#include "report/memory.hpp"

#include <algorithm>

#include "base/os.hpp"
#include "report/kernel.hpp"
#include "report/ledger.hpp"
#include "report/maps.hpp"
#include "report/shares.hpp"

namespace mallard::report {
namespace {

constexpr const char* kNoMemory = "there was no memory for it";
/// How much of the heap a census may read, where it has to read it: some 0.5 s, so that a report stays below
/// 1 s.
constexpr std::uint64_t kCensusBudgetBytes = std::uint64_t{3} << 29;

/// What may hold pages: all but the kernel's own.
std::span<const AddressRange> ranges_of(Arena& arena, std::span<const Region> regions) noexcept {
  Growing<AddressRange> ranges(arena);
  for (const Region& region : regions) {
    if (region.owner == Owner::kKernel) continue;
    if (ranges.size() > 0 && ranges[ranges.size() - 1].end == region.begin)
      ranges[ranges.size() - 1].end = region.end;
    else ranges.add({region.begin, region.end});
  }
  return ranges.all();
}

/// The live samples by address, for the shares and for the census.
struct Samples {
  std::span<SampledBlock> blocks;
  std::span<std::uintptr_t> addresses;
};

bool sort_samples(Arena& arena, const Books& books, Samples* out) noexcept {
  auto* blocks = arena.array<SampledBlock>(books.block_count + 1);
  auto* addresses = arena.array<std::uintptr_t>(books.block_count + 1);
  if (!blocks || !addresses) return false;
  for (std::uint32_t i = 0; i < books.block_count; ++i) {
    const record::LiveBlock& b = books.blocks[i];
    blocks[i] = {b.address, b.asked_bytes, b.asked_bytes + b.rounding_bytes, b.weight,
                 static_cast<std::uint32_t>(b.site)};
  }
  std::sort(blocks, blocks + books.block_count,
            [](const SampledBlock& a, const SampledBlock& b) { return a.begin < b.begin; });
  for (std::uint32_t i = 0; i < books.block_count; ++i) addresses[i] = blocks[i].begin;
  *out = {{blocks, books.block_count}, {addresses, books.block_count}};
  return true;
}

/// \return why the heap could not be divided; nullptr if it was
const char* divide(Arena& arena, const Memory& memory, const Allocator& allocator, const Books& books,
                   HeapTotals* totals, Ledger* out) noexcept {
  if (allocator.bypassed || allocator.stepped_aside) return "mallard's allocator does not serve this process";
  if (!allocator.backend->census) return "mallard does not know how to ask this allocator";
  HeapRanges heap;
  Samples samples;
  Shares shares(arena, memory.residency.runs());
  auto* sites = arena.array<SiteShare>(books.row_count + 1);
  if (!sites || !heap_ranges(arena, memory.regions.all, memory.residency.runs(), &heap) ||
      !sort_samples(arena, books, &samples) || !shares.begin(samples.blocks))
    return kNoMemory;
  const std::uint64_t began = os::monotonic_ns();
  const backends::CensusResult census = allocator.backend->census(
      {heap.mapped, heap.resident, samples.addresses, kCensusBudgetBytes, Shares::take, &shares});
  if (!census.done) return census.why_not ? census.why_not : "the allocator could not be asked";
  if (!shares.finish(heap.resident_bytes, {sites, books.row_count}, totals)) return kNoMemory;
  out->census_ns = os::monotonic_ns() - began;
  out->unit_name = census.unit_name;
  out->thread_cached_bytes = census.thread_cached_bytes;
  out->reads = census.reads;
  out->raced = census.raced;
  for (std::uint32_t i = 0; i < books.row_count; ++i) {
    books.rows[i].resident_bytes = sites[i].resident;
    books.rows[i].resident_live_bytes = sites[i].live;
    books.rows[i].hole_bytes = sites[i].holes;
  }
  return nullptr;
}

}  // namespace

namespace {

/// One look at the mappings and at what of them is in memory.
void look(Arena& arena, const Served& served, Memory* out) noexcept {
  *out = {};
  const bool mapped = read_regions(arena, served, &out->regions);
  out->before = out->after = read_rss();  // after what takes memory of our own
  if (!out->before.known) return void(out->why_not = "/proc/self/status cannot be read");
  if (!mapped) return void(out->why_not = "/proc/self/maps cannot be read");
  if (!out->residency.scan(arena, ranges_of(arena, out->regions.all)))
    return void(out->why_not = "the kernel does not tell which pages are in memory");
  out->after = read_rss();
  if (!out->after.known) out->after = out->before;
  out->known = true;
}

/// How far the pages that were found are from RSS: what came, went or moved while we looked.
double moved_part(const Memory& memory) noexcept {
  const std::span<const ResidentRun> runs = memory.residency.runs();
  const double found =
      runs.empty() ? 0 : static_cast<double>(runs.back().before + (runs.back().end - runs.back().begin));
  const double rss = static_cast<double>(memory.before.total + memory.after.total) / 2;
  return rss > 0 ? (found < rss ? rss - found : found - rss) / rss : 0;
}

/// The host's memory moves while we look. Of a few quick looks the one that saw least of it is taken.
void look_well(Arena& arena, const Served& served, Memory* out) noexcept {
  constexpr int kMostLooks = 4;
  constexpr double kStill = 0.003;
  constexpr std::uint64_t kQuickNs = 100'000'000;
  const std::uint64_t began = os::monotonic_ns();
  look(arena, served, out);
  for (out->looks = 1; out->looks < kMostLooks; ++out->looks) {
    const bool page_tables =
        out->residency.method() <= ResidencyMethod::kPagemap;  // mincore counts other things
    if (!out->known || !page_tables || moved_part(*out) <= kStill || os::monotonic_ns() - began > kQuickNs)
      return;
    Memory next;
    look(arena, served, &next);
    next.looks = out->looks;
    if (next.known && moved_part(next) < moved_part(*out)) *out = next;
  }
}

/// Few samples can claim more holes than there are: the line of the ledger, which is counted, is the bound.
void bound_holes(const Books& books, const Ledger& ledger) noexcept {
  const double holes = ledger.lines[static_cast<int>(Cause::kHoles)].bytes.value;
  double claimed = 0;
  for (std::uint32_t i = 0; i < books.row_count; ++i) claimed += books.rows[i].hole_bytes.value;
  if (!ledger.divided || claimed <= holes || claimed <= 0) return;
  const double factor = holes / claimed;
  for (std::uint32_t i = 0; i < books.row_count; ++i) {
    Estimate& e = books.rows[i].hole_bytes;
    e.value *= factor;
    e.low *= factor;
    e.high *= factor;
    e.variance *= factor * factor;
  }
}

}  // namespace

void read_memory(Arena& arena, const Served& served, Memory* out) noexcept {
  const std::uint64_t began = os::monotonic_ns();
  look_well(arena, served, out);
  if (!out->known) return;
  for (Rss* rss : {&out->before, &out->after})
    if (!rss->walked) rss->huge_pages = out->residency.private_huge_bytes();
  recognise_allocators(arena, &out->regions);
  if (out->after.lazily_freed > 0) find_lazily_freed(arena, out->residency, &out->regions);
  out->scan_ns = os::monotonic_ns() - began;
}

void account(Arena& arena, const Memory& memory, const Allocator& allocator, const Books& books,
             Ledger* out) noexcept {
  out->known = memory.known;
  out->why_not = memory.why_not;
  out->method = memory.residency.method();
  out->scan_ns = memory.scan_ns;
  out->looks = memory.looks;
  out->unlogged_mappings = memory.regions.unlogged_mappings;
  if (!memory.known) return;
  HeapTotals totals;
  const char* why_not = divide(arena, memory, allocator, books, &totals, out);
  const LedgerSources sources{memory.regions.all, memory.residency.runs(),     memory.before,
                              memory.after,       why_not ? nullptr : &totals, why_not};
  if (!build_ledger(arena, sources, out)) {
    *out = {};
    out->why_not = kNoMemory;
    return;
  }
  bound_holes(books, *out);
}

}  // namespace mallard::report
