// SPDX-License-Identifier: Apache-2.0
#include "report/divide/heap_division.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/os.hpp"
#include "report/divide/exact_division.hpp"
#include "report/divide/heap_map.hpp"
#include "report/divide/huge_division.hpp"
#include "report/divide/ledger.hpp"
#include "report/facts/sampled_sites.hpp"

namespace mallard::report {
namespace {

constexpr const char* kNoMemory = "there was no memory for it";

/// Why an allocator has no census. One that mallard knows has none where no heap of its is there.
const char* why_no_census(const backends::Backend& backend, const HeapRanges& heap) noexcept {
  const std::string_view name = view_of(backend.name);
  if (heap.mapped.empty() || name == "system" || name == "musl" || name == kNoAllocator)
    return "no heap was found";
  return "mallard does not know how to ask this allocator";
}

/// How much of the heap a census may read, where it has to read it: some 0.5 s, so that a report stays below
/// 1 s. Whoever looks at another process waits until all of it is read.
constexpr std::uint64_t kCensusBudgetBytes = std::uint64_t{3} << 29, kNoBudget = std::uint64_t{1} << 60;

/// 0.1 ms for a huge page that is full, 0.7 for one that is empty.
constexpr std::uint64_t kHugeBudgetNs = 60'000'000;

/// The live samples by address, for the shares and for the census.
struct Samples {
  std::span<SampledBlock> blocks;
  std::span<std::uintptr_t> addresses;
};

bool sort_samples(Arena& arena, const RecordCopy& copy, Samples* out) noexcept {
  const std::size_t count = copy.blocks.size();
  auto* blocks = arena.array<SampledBlock>(count + 1);
  auto* addresses = arena.array<std::uintptr_t>(count + 1);
  if (!blocks || !addresses) return false;
  for (std::size_t i = 0; i < count; ++i) {
    const record::LiveBlock& b = copy.blocks[i];
    blocks[i] = {b.address, b.asked_bytes, b.asked_bytes + b.rounding_bytes, b.weight,
                 static_cast<std::uint32_t>(b.site)};
  }
  std::sort(blocks, blocks + count,
            [](const SampledBlock& a, const SampledBlock& b) { return a.begin < b.begin; });
  for (std::size_t i = 0; i < count; ++i) addresses[i] = blocks[i].begin;
  *out = {{blocks, count}, {addresses, count}};
  return true;
}

/// Free blocks that look live are where nobody booked them.
double take_off_past(double bytes, HeapTotals* totals) noexcept {
  const double taken = std::min(bytes, totals->past.value);
  for (double* figure : {&totals->past.value, &totals->past.low, &totals->past.high})
    *figure = std::max(0.0, *figure - taken);
  return taken;
}

/// Free blocks in thread caches look live to the census. Nobody knows where they lie: of what is live they
/// are taken to be a part like the rest.
void count_as_holes(std::uint64_t thread_cached_bytes, HeapTotals* totals) noexcept {
  const double past = take_off_past(static_cast<double>(thread_cached_bytes), totals);
  const double rest = std::min(static_cast<double>(thread_cached_bytes) - past, totals->live_usable);
  const double cached = past + std::max(rest, 0.0);
  if (cached <= 0) return;
  if (rest > 0) {
    const double left = 1 - rest / totals->live_usable;
    for (Estimate* e : {&totals->live, &totals->rounding})
      *e = {e->value * left, e->variance * left * left, e->has_interval, e->low * left, e->high * left};
    totals->live_usable -= rest;
  }
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

bool leads_past_mallard(std::span<const BoundElsewhere> bound) noexcept {
  return std::any_of(bound.begin(), bound.end(), [](const BoundElsewhere& b) { return b.to_server; });
}

/// What samples say of memory that a site holds alone is that of blocks alone on their unit. It is told where
/// that is nearly all that the site has: nobody knows of the rest whom it is shared with.
void tell_alone(const SiteShare& share, SiteRow* row) noexcept {
  constexpr double kNearlyAll = 0.9;
  row->alone_bytes = row->alone_hole_bytes = {};
  if (!share.resident.has_interval || share.alone.value < kNearlyAll * share.resident.value) return;
  row->alone_bytes = share.alone;
  row->alone_bytes.has_interval = true;
  row->alone_bytes.low = std::min(share.alone.value, share.alone.low);
  row->alone_bytes.high = std::max(share.alone.value, share.resident.high);
  row->alone_hole_bytes = share.alone_holes;
  row->alone_hole_bytes.has_interval = true;
  row->alone_hole_bytes.low = std::min(share.alone_holes.value, share.alone_holes.low);
  row->alone_hole_bytes.high = std::max(share.alone_holes.value, share.holes.high);
}

/// The heap, what is known of it, and where its division is written.
struct HeapDivision {
  Arena& arena;
  const Memory& memory;
  const backends::Backend& backend;
  const RecordCopy& copy;
  bool bound;
  HeapRanges heap;
  Samples samples;
  HeapTotals* totals;
  Ledger* out;
  HeapMap* map;
  std::span<const AddressRange> zeros;
  void (*look_again)();

  std::span<const ResidentRun> runs() const noexcept { return memory.residency.runs(); }

  heaps::CensusResult ask(void (*on_unit)(const heaps::Unit&, void*), void* opaque,
                          const heaps::ExactBlocks* exact_blocks) noexcept {
    const std::uint64_t began = os::monotonic_ns();
    // Exact books are asked by the census itself, and draw the map on their own.
    if (!exact_blocks) map->pass_on(on_unit, opaque);
    const heaps::CensusResult census = backend.census(
        {*memory.process, heap.mapped, heap.resident, samples.addresses,
         memory.process->is_own() ? kCensusBudgetBytes : kNoBudget, exact_blocks ? on_unit : HeapMap::on_unit,
         exact_blocks ? opaque : map, exact_blocks});
    out->census_ns = os::monotonic_ns() - began;
    out->unit_name = census.unit_name;
    out->thread_cached_bytes = census.thread_cached_bytes;
    out->arena_top_bytes = census.arena_top_bytes;
    out->arenas = census.arenas;
    out->threadless_arenas = census.threadless_arenas;
    out->free_memory = census.free_memory;
    out->reads = census.reads;
    out->raced = census.raced;
    if (!census.done) map->clear();
    return census;
  }

  const char* by_samples(BeforeRecording* before) noexcept {
    SampledDivision shares(arena, runs(), !record::began_with_process());
    shares.know_zeros(zeros);
    auto* sites = arena.array<SiteShare>(copy.site_count + 1);
    if (!sites || !shares.begin(samples.blocks)) return kNoMemory;
    const heaps::CensusResult census = ask(SampledDivision::on_unit, &shares, nullptr);
    if (!census.done) return census.why_not ? census.why_not : "the allocator could not be asked";
    if (look_again) look_again();
    const BeyondEvidence evidence{bound, static_cast<double>(record::sampler_mean_bytes()),
                                  static_cast<double>(census.thread_cached_bytes + census.internal_bytes),
                                  allocated_since(copy), record::is_recording()};
    if (!shares.sum_up(heap.resident_bytes, evidence, {sites, copy.site_count}, totals)) return kNoMemory;
    totals->counted_live -= std::min(totals->counted_live, evidence.not_live);
    // No sample can be one of them: they are of sizes that have few.
    count_as_metadata(census.internal_bytes, totals->past.value > 0 ? &totals->past : &totals->live,
                      totals->unattributed, totals);
    count_as_holes(census.thread_cached_bytes, totals);
    before->live_bytes = std::clamp(totals->older - evidence.not_live, 0.0, totals->live.value);
    for (std::uint32_t i = 0; i < copy.row_count; ++i) {
      const SiteShare& share = sites[copy.rows[i].id];
      copy.rows[i].resident_bytes = share.resident;
      copy.rows[i].resident_live_bytes = share.live;
      copy.rows[i].hole_bytes = share.holes;
      tell_alone(share, &copy.rows[i]);
    }
    return nullptr;
  }

  bool is_glibc() const noexcept { return view_of(backend.name) == "system"; }

  /// By the census and the exact copy. \param beyond  what is live by the allocator's marks alone
  const char* by_booked_blocks(Beyond beyond, ExactRecording* exact, BeforeRecording* before) noexcept {
    std::fill(copy.shares.begin(), copy.shares.end(), ExactShare{});
    ExactDivision shares(arena, runs(), {record::exact_for_each_live, beyond},
                         is_glibc() ? glibc_block_size() : BlockSize{});
    shares.draw(map);
    shares.know_zeros(zeros);
    if (!shares.begin(copy.shares)) return kNoMemory;
    const heaps::CensusResult census = ask(ExactDivision::on_unit, &shares, ExactDivision::exact_blocks());
    if (!census.done) return census.why_not ? census.why_not : "the allocator could not be asked";
    const std::uint64_t not_live = census.thread_cached_bytes + census.internal_bytes;
    if (!shares.sum_up(heap.resident_bytes, not_live, totals)) return kNoMemory;
    const BeyondEvidence evidence{bound, 0, beyond == Beyond::kChance ? static_cast<double>(not_live) : 0, 0};
    const bool is_past = is_past_mallard(totals->counted_live, totals->recorded_live, evidence);
    // The books are complete, and the allocator does not agree: it is believed.
    if (beyond == Beyond::kChance && is_past) {
      map->clear();
      return by_booked_blocks(Beyond::kPastMallard, exact, before);
    }
    totals->counted_live -= std::min(evidence.not_live, shares.disputed_bytes());
    if (beyond == Beyond::kPastMallard && !is_past) {  // the error of a census
      totals->holes = counted(totals->holes.value + totals->past.value);
      totals->past = counted(0);
    }
    if (!shares.sum_up_pins(&out->pins)) return kNoMemory;
    count_as_metadata(census.internal_bytes, &totals->holes, totals->holes.value, totals);
    exact->met_blocks = shares.met_blocks();
    exact->raced_units = shares.raced_units();
    if (beyond == Beyond::kOlder)
      *before = {shares.unbooked().live, shares.unbooked().resident, shares.unbooked().holes};
    else totals->unattributed += shares.unbooked().resident;
    return nullptr;
  }

  /// For want of a census by the exact books alone.
  const char* by_pages(ExactRecording* exact) noexcept {
    std::fill(copy.shares.begin(), copy.shares.end(), ExactShare{});
    ExactDivision shares(arena, runs(), {record::exact_for_each_live, Beyond::kChance},
                         is_glibc() ? glibc_block_size() : BlockSize{});
    shares.draw(map);
    shares.know_zeros(zeros);
    if (!shares.begin(copy.shares)) return kNoMemory;
    const std::uint64_t began = os::monotonic_ns();
    shares.divide_by_pages(heap.mapped);
    out->census_ns = os::monotonic_ns() - began;
    out->unit_name = "4 KiB page";
    out->thread_cached_bytes = out->reads = out->raced = 0;
    out->by_pages = true;
    if (!shares.sum_up(heap.resident_bytes, 0, totals)) return kNoMemory;
    // What another allocator can give back is known to nobody.
    if (is_glibc() && !shares.sum_up_pins(&out->pins)) return kNoMemory;
    totals->rounding_known = is_glibc();
    totals->is_compared = false;
    exact->met_blocks = shares.met_blocks();
    exact->raced_units = shares.raced_units();
    return nullptr;
  }

  const char* by_exact_blocks(ExactRecording* exact, BeforeRecording* before) noexcept {
    const Beyond beyond = !exact->complete ? Beyond::kOlder : bound ? Beyond::kPastMallard : Beyond::kChance;
    const char* why_not = why_no_census(backend, heap);
    if (backend.census && !(why_not = by_booked_blocks(beyond, exact, before))) return nullptr;
    // A page without a booked block is free only if nobody else takes blocks.
    return beyond == Beyond::kChance ? by_pages(exact) : why_not;
  }
};

/// Writes the shares into the rows of `copy` or, where the books are exact, into their shares.
/// \return why the heap could not be divided; nullptr if it was
const char* divide_heap(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& copy,
                        std::span<const BoundElsewhere> bound, std::span<const AddressRange> zeros,
                        HeapTotals* totals, ExactRecording* exact, BeforeRecording* before,
                        Ledger* out) noexcept {
  if (served.bypassed || served.stepped_aside) return "mallard's allocator does not serve this process";
  HeapDivision division{arena,  memory, *served.backend, copy,  leads_past_mallard(bound), {}, {},
                        totals, out,    nullptr,         zeros, served.look_again};
  if (!heap_ranges(arena, memory.regions.all, memory.residency.runs(), &division.heap) ||
      !sort_samples(arena, copy, &division.samples))
    return kNoMemory;
  HeapMap* map = begin_heap_map(arena, division.heap.resident, division.samples.blocks);
  if (!map) return kNoMemory;
  division.map = map;
  const char* why_not = exact->on                ? division.by_exact_blocks(exact, before)
                        : served.backend->census ? division.by_samples(before)
                                                 : why_no_census(*served.backend, division.heap);
  map->limit_to_resident();
  out->heap_map = map->plain();
  return why_not;
}

/// Few samples can claim more holes than there are: the line of the ledger, which is counted, is the bound.
void bound_holes(const RecordCopy& copy, const Ledger& ledger) noexcept {
  const double holes = ledger.lines[static_cast<int>(Cause::kHoles)].bytes.value;
  double claimed = 0;
  for (std::uint32_t i = 0; i < copy.row_count; ++i) claimed += copy.rows[i].hole_bytes.value;
  if (!ledger.divided || claimed <= holes || claimed <= 0) return;
  const double factor = holes / claimed;
  for (std::uint32_t i = 0; i < copy.row_count; ++i) {
    Estimate& e = copy.rows[i].hole_bytes;
    e.value *= factor;
    e.low *= factor;
    e.high *= factor;
    e.variance *= factor * factor;
  }
}

}  // namespace

void account(Arena& arena, const Memory& memory, const Served& served, const RecordCopy& copy,
             std::span<const BoundElsewhere> bound, ExactRecording* exact, BeforeRecording* before,
             Ledger* out) noexcept {
  out->known = memory.known;
  out->why_not = memory.why_not;
  out->method = memory.residency.method();
  out->unread_bytes = memory.residency.unread_bytes();
  out->scan_ns = memory.scan_ns;
  out->looks = memory.looks;
  out->unlogged_mappings = memory.regions.unlogged_mappings;
  if (!memory.known) return;
  HeapTotals totals;
  HugeTails tails;
  find_huge_tails(arena, memory, kHugeBudgetNs, &tails);
  const char* why_not =
      divide_heap(arena, memory, served, copy, bound, tails.zeros, &totals, exact, before, out);
  const LedgerSources sources{memory.regions.all,
                              memory.residency.runs(),
                              memory.before,
                              memory.after,
                              why_not ? nullptr : &totals,
                              why_not,
                              view_of(served.backend->name) == "system",
                              memory.residency.method() <= ResidencyMethod::kSmaps};
  if (!build_ledger(arena, sources, out)) {
    *out = {};
    out->why_not = kNoMemory;
    return;
  }
  out->dirty_known = memory.use.has_smaps;
  divide_huge_zeros(tails, memory.regions.all, why_not ? nullptr : &totals, out);
  if (!exact->on) bound_holes(copy, *out);
}

}  // namespace mallard::report
