// SPDX-License-Identifier: Apache-2.0
#include "report/divide/heap_division.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/os.hpp"
#include "report/divide/exact_division.hpp"
#include "report/divide/heap_map.hpp"
#include "report/divide/ledger.hpp"

namespace mallard::report {
namespace {

constexpr const char* kNoMemory = "there was no memory for it";

/// How much of the heap a census may read, where it has to read it: some 0.5 s, so that a report stays below
/// 1 s.
constexpr std::uint64_t kCensusBudgetBytes = std::uint64_t{3} << 29;

/// The live samples by address, for the shares and for the census.
struct Samples {
  std::span<SampledBlock> blocks;
  std::span<std::uintptr_t> addresses;
};

bool sort_samples(Arena& arena, const RecordCopy& books, Samples* out) noexcept {
  const std::size_t count = books.blocks.size();
  auto* blocks = arena.array<SampledBlock>(count + 1);
  auto* addresses = arena.array<std::uintptr_t>(count + 1);
  if (!blocks || !addresses) return false;
  for (std::size_t i = 0; i < count; ++i) {
    const record::LiveBlock& b = books.blocks[i];
    blocks[i] = {b.address, b.asked_bytes, b.asked_bytes + b.rounding_bytes, b.weight,
                 static_cast<std::uint32_t>(b.site)};
  }
  std::sort(blocks, blocks + count,
            [](const SampledBlock& a, const SampledBlock& b) { return a.begin < b.begin; });
  for (std::size_t i = 0; i < count; ++i) addresses[i] = blocks[i].begin;
  *out = {{blocks, count}, {addresses, count}};
  return true;
}

/// Free blocks in thread caches look live to the census. Nobody knows where they lie: of what is live they
/// are taken to be a part like the rest.
void count_as_holes(std::uint64_t thread_cached_bytes, HeapTotals* totals) noexcept {
  const double cached = std::min(static_cast<double>(thread_cached_bytes), totals->live_usable);
  if (cached <= 0) return;
  const double left = 1 - cached / totals->live_usable;
  for (Estimate* e : {&totals->live, &totals->rounding})
    *e = {e->value * left, e->variance * left * left, e->has_interval, e->low * left, e->high * left};
  totals->live_usable -= cached;
  totals->holes.value += cached;
  if (!totals->holes.has_interval) return;
  totals->holes.low += cached;
  totals->holes.high += cached;
}

/// Blocks of the allocator's own look live, too. How much of them is in memory is not told.
/// \param counted_in  the line that they are in
/// \param most        what of it can be theirs
void count_as_metadata(std::uint64_t internal_bytes, Estimate* counted_in, double most,
                       HeapTotals* totals) noexcept {
  const double own = std::clamp(static_cast<double>(internal_bytes), 0.0, std::min(most, counted_in->value));
  for (double* bytes : {&counted_in->value, &counted_in->low, &counted_in->high})
    *bytes = std::max(0.0, *bytes - own);
  totals->pinned -= own;
  totals->metadata += own;
  if (counted_in == &totals->live) totals->live_usable -= own;
  totals->unattributed = std::max(0.0, totals->unattributed - own);
}

/// The heap, what is known of it, and where its division is written.
struct HeapDivision {
  Arena& arena;
  const Memory& memory;
  const backends::Backend& backend;
  const RecordCopy& books;
  HeapRanges heap;
  Samples samples;
  HeapTotals* totals;
  Ledger* out;
  HeapMap* map;

  std::span<const ResidentRun> runs() const noexcept { return memory.residency.runs(); }

  heaps::CensusResult ask(void (*on_unit)(const heaps::Unit&, void*), void* opaque,
                          const heaps::ExactBlocks* exact_blocks) noexcept {
    const std::uint64_t began = os::monotonic_ns();
    // Exact books are asked by the census itself, and draw the map on their own.
    if (!exact_blocks) map->pass_on(on_unit, opaque);
    const heaps::CensusResult census = backend.census(
        {*memory.process, heap.mapped, heap.resident, samples.addresses, kCensusBudgetBytes,
         exact_blocks ? on_unit : HeapMap::on_unit, exact_blocks ? opaque : map, exact_blocks});
    out->census_ns = os::monotonic_ns() - began;
    out->unit_name = census.unit_name;
    out->thread_cached_bytes = census.thread_cached_bytes;
    out->reads = census.reads;
    out->raced = census.raced;
    if (!census.done) map->clear();
    return census;
  }

  const char* by_samples() noexcept {
    SampledDivision shares(arena, runs(), !record::began_with_process());
    auto* sites = arena.array<SiteShare>(books.site_count + 1);
    if (!sites || !shares.begin(samples.blocks)) return kNoMemory;
    const heaps::CensusResult census = ask(SampledDivision::on_unit, &shares, nullptr);
    if (!census.done) return census.why_not ? census.why_not : "the allocator could not be asked";
    if (!shares.sum_up(heap.resident_bytes, {sites, books.site_count}, totals)) return kNoMemory;
    // No sample can be one of them: they are of sizes that have few.
    count_as_metadata(census.internal_bytes, &totals->live, totals->unattributed, totals);
    count_as_holes(census.thread_cached_bytes, totals);
    for (std::uint32_t i = 0; i < books.row_count; ++i) {
      const SiteShare& share = sites[books.rows[i].id];
      books.rows[i].resident_bytes = share.resident;
      books.rows[i].resident_live_bytes = share.live;
      books.rows[i].hole_bytes = share.holes;
    }
    return nullptr;
  }

  /// By the census and the exact books or, for want of a census, by these alone.
  const char* by_exact_blocks(ExactRecording* exact, BeforeRecording* before) noexcept {
    const LiveBlocks live{record::exact_for_each_live, exact->complete};
    const bool is_glibc = view_of(backend.name) == "system";
    const char* why_not = "mallard does not know how to ask this allocator";
    for (const bool by_pages : {false, true}) {
      if (!by_pages && !backend.census) continue;
      if (by_pages && !exact->complete) break;
      std::fill(books.shares.begin(), books.shares.end(), ExactShare{});
      ExactDivision shares(arena, runs(), live, is_glibc ? glibc_block_size() : BlockSize{});
      shares.draw(map);
      if (!shares.begin(books.shares)) return kNoMemory;
      std::uint64_t internal_bytes = 0;
      if (by_pages) {
        const std::uint64_t began = os::monotonic_ns();
        shares.divide_by_pages(heap.mapped);
        out->census_ns = os::monotonic_ns() - began;
        out->unit_name = "4 KiB page";
        out->thread_cached_bytes = out->reads = out->raced = 0;
        out->by_pages = true;
      } else {
        const heaps::CensusResult census =
            ask(ExactDivision::on_unit, &shares, ExactDivision::exact_blocks());
        why_not = census.why_not ? census.why_not : "the allocator could not be asked";
        if (!census.done) continue;
        internal_bytes = census.internal_bytes;
      }
      if (!shares.sum_up(heap.resident_bytes, out->thread_cached_bytes + internal_bytes, totals))
        return kNoMemory;
      count_as_metadata(internal_bytes, &totals->holes, totals->holes.value, totals);
      if (by_pages) totals->rounding_known = is_glibc;
      exact->met_blocks = shares.met_blocks();
      exact->raced_units = shares.raced_units();
      *before = {shares.before().live, shares.before().resident, shares.before().holes};
      return nullptr;
    }
    return why_not;
  }
};

/// Writes the shares into the rows of `books` or, where the books are exact, into their shares.
/// \return why the heap could not be divided; nullptr if it was
const char* divide_heap(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& books,
                        HeapTotals* totals, ExactRecording* exact, BeforeRecording* before,
                        Ledger* out) noexcept {
  if (served.bypassed || served.stepped_aside) return "mallard's allocator does not serve this process";
  HeapDivision division{arena, memory, *served.backend, books, {}, {}, totals, out, nullptr};
  if (!heap_ranges(arena, memory.regions.all, memory.residency.runs(), &division.heap) ||
      !sort_samples(arena, books, &division.samples))
    return kNoMemory;
  HeapMap* map = begin_heap_map(arena, division.heap.resident, division.samples.blocks);
  if (!map) return kNoMemory;
  division.map = map;
  out->heap_map = map->plain();
  if (!served.backend->census && !exact->on) return "mallard does not know how to ask this allocator";
  const char* why_not = exact->on ? division.by_exact_blocks(exact, before) : division.by_samples();
  map->limit_to_resident();
  out->heap_map = map->plain();
  return why_not;
}

/// Few samples can claim more holes than there are: the line of the ledger, which is counted, is the bound.
void bound_holes(const RecordCopy& books, const Ledger& ledger) noexcept {
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

void account(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& books,
             ExactRecording* exact, BeforeRecording* before, Ledger* out) noexcept {
  out->known = memory.known;
  out->why_not = memory.why_not;
  out->method = memory.residency.method();
  out->scan_ns = memory.scan_ns;
  out->looks = memory.looks;
  out->unlogged_mappings = memory.regions.unlogged_mappings;
  if (!memory.known) return;
  HeapTotals totals;
  const char* why_not = divide_heap(arena, memory, served, books, &totals, exact, before, out);
  const LedgerSources sources{memory.regions.all,
                              memory.residency.runs(),
                              memory.before,
                              memory.after,
                              why_not ? nullptr : &totals,
                              why_not,
                              memory.residency.method() <= ResidencyMethod::kPagemap};
  if (!build_ledger(arena, sources, out)) {
    *out = {};
    out->why_not = kNoMemory;
    return;
  }
  if (!exact->on) bound_holes(books, *out);
}

}  // namespace mallard::report
