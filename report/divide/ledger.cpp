// SPDX-License-Identifier: Apache-2.0
#include "report/divide/ledger.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/arena.hpp"

namespace mallard::report {
namespace {

LedgerLine& line(Ledger* ledger, Cause cause) noexcept { return ledger->lines[static_cast<int>(cause)]; }

void set_exact(LedgerLine& to, double bytes) noexcept { to.bytes = {bytes, 0, true, bytes, bytes}; }

/// The cause of a region outside the heap; the heap's is decided block by block.
Cause cause_of(Owner owner) noexcept {
  switch (owner) {
    case Owner::kHeap:
      return Cause::kUndivided;
    case Owner::kHeapMetadata:
      return Cause::kMetadata;
    case Owner::kOwn:
      return Cause::kOwn;
    case Owner::kAnonymous:
      return Cause::kAnonymous;
    case Owner::kStack:
      return Cause::kStacks;
    case Owner::kFile:
      return Cause::kFiles;
    case Owner::kShared:
    case Owner::kKernel:
      break;
  }
  return Cause::kShared;
}

void add_to(Sharing& sum, const Sharing& part) noexcept {
  sum.only_ours += part.only_ours;
  sum.with_others += part.with_others;
}

bool same_owner(const LedgerDetail& a, const LedgerDetail& b) noexcept {
  return a.cause == b.cause && a.mapper == b.mapper && a.name == b.name && a.allocator == b.allocator;
}

/// Joins the details of one owner and puts the largest first. \return how many are left
std::uint32_t group_details(std::span<LedgerDetail> details) noexcept {
  std::sort(details.begin(), details.end(), [](const LedgerDetail& a, const LedgerDetail& b) {
    if (a.cause != b.cause) return a.cause < b.cause;
    if (a.mapper != b.mapper) return a.mapper < b.mapper;
    if (const int order = a.name.compare(b.name); order != 0) return order < 0;
    return a.allocator < b.allocator;
  });
  std::uint32_t n = 0;
  for (const LedgerDetail& d : details) {
    if (n > 0 && same_owner(details[n - 1], d)) {
      details[n - 1].bytes += d.bytes;
      details[n - 1].mappings += d.mappings;
      details[n - 1].dirty += d.dirty;
      add_to(details[n - 1].sharing, d.sharing);
    } else {
      details[n++] = d;
    }
  }
  std::sort(details.begin(), details.begin() + n, [](const LedgerDetail& a, const LedgerDetail& b) {
    if (a.cause != b.cause) return a.cause < b.cause;
    if (a.bytes != b.bytes) return a.bytes > b.bytes;
    return a.name < b.name;
  });
  return n;
}

/// Takes at most `bytes` off a counted line. \return what was taken
double take_off(LedgerLine& from, double bytes) noexcept {
  const double taken = std::clamp(bytes, 0.0, from.bytes.value);
  from.bytes.value -= taken;
  from.bytes.low = std::max(0.0, from.bytes.low - taken);
  from.bytes.high = std::max(from.bytes.value, from.bytes.high - taken);
  return taken;
}

/// Pages of the heap that MADV_FREE gave back read as present. Which they are is not told, only how many: an
/// allocator gives back free ones first; where the program itself gave them back, they lie under its blocks.
/// \return what was taken off the heap's lines
double separate_lazily_freed(double bytes, bool by_program, Ledger* out) noexcept {
  constexpr Cause kByAllocator[] = {Cause::kRetained,    Cause::kUndivided, Cause::kHoles,
                                    Cause::kLive,        Cause::kRounding,  Cause::kMetadata,
                                    Cause::kPastMallard, Cause::kAnonymous};
  constexpr Cause kByProgram[] = {Cause::kLive,  Cause::kUndivided, Cause::kPastMallard, Cause::kRounding,
                                  Cause::kHoles, Cause::kRetained,  Cause::kAnonymous};
  double taken = 0;
  for (const Cause cause :
       by_program ? std::span<const Cause>(kByProgram) : std::span<const Cause>(kByAllocator))
    taken += take_off(line(out, cause), bytes - taken);
  LedgerLine& freed = line(out, Cause::kLazilyFreed);
  set_exact(freed, freed.bytes.value + taken);
  return taken;
}

void set_heap_lines(const HeapTotals& heap, Ledger* out) noexcept {
  line(out, Cause::kUndivided) = {};
  set_exact(line(out, Cause::kUndivided), 0);
  line(out, Cause::kLive).bytes = heap.live;
  line(out, Cause::kRounding).bytes = heap.rounding;
  line(out, Cause::kPastMallard).bytes = heap.past;
  line(out, Cause::kHoles).bytes = heap.holes;
  set_exact(line(out, Cause::kRetained), heap.retained);
  line(out, Cause::kRetained).bytes.has_interval = heap.holes.has_interval;
  line(out, Cause::kMetadata).sharing = {};  // that of the heap as a whole is told
  Estimate& metadata = line(out, Cause::kMetadata).bytes;
  set_exact(line(out, Cause::kMetadata), metadata.value + heap.metadata + heap.headers);
}

/// What of a region has one cause.
struct PartOfRegion {
  std::uint64_t bytes;
  Sharing sharing;
  std::uint64_t dirty;
};

/// Adds it to its line. \return how many details were made
std::uint32_t add(Cause cause, const Region& region, PartOfRegion part, LedgerDetail* detail,
                  Ledger* out) noexcept {
  if (part.bytes == 0) return 0;
  LedgerLine& l = line(out, cause);
  set_exact(l, l.bytes.value + static_cast<double>(part.bytes));
  ++l.mappings;
  add_to(l.sharing, part.sharing);
  l.dirty += part.dirty;
  if (facts_of(cause).kind != CauseKind::kOwners) return 0;
  *detail = {};
  detail->cause = cause;
  detail->name = region.name;
  detail->allocator = region.allocator;
  detail->bytes = part.bytes;
  detail->mappings = 1;
  detail->mapper = region.mapper;
  detail->sharing = part.sharing;
  detail->dirty = part.dirty;
  return 1;
}

/// Adds the parts of a region: pages of a file, those that no file has, and those that were given back.
std::uint32_t add_region(const Region& region, const InMemory& in_memory, bool files_told,
                         LedgerDetail* details, Ledger* out) noexcept {
  const Cause cause = cause_of(region.owner);
  const bool may_be_copied = files_told && (cause == Cause::kFiles || cause == Cause::kShared);
  const std::uint64_t copied = may_be_copied ? in_memory.anonymous : 0;
  if (region.owner == Owner::kHeap) out->huge_bytes += in_memory.huge;
  PartOfRegion files{in_memory.bytes - copied, region.in_files, region.dirty_bytes}, copies{copied, {}, 0};
  PartOfRegion& others = may_be_copied ? copies : files;
  add_to(others.sharing, region.in_no_file);
  // Those of the heap are taken off once it is divided.
  PartOfRegion freed{};
  if (region.owner != Owner::kHeap) freed.bytes = std::min(region.lazily_freed_bytes, others.bytes);
  freed.sharing.only_ours =
      std::min(freed.bytes, others.sharing.only_ours);  // MADV_FREE leaves other pages alone
  others.bytes -= freed.bytes;
  others.sharing.only_ours -= freed.sharing.only_ours;
  std::uint32_t made = add(cause, region, files, details, out);
  made += add(Cause::kFileCopies, region, copies, details + made, out);
  return made + add(Cause::kLazilyFreed, region, freed, details + made, out);
}

/// The heap's own part of what was given back, with its detail. \return how many details were made
std::uint32_t add_lazily_freed_heap(const LedgerSources& sources, LedgerDetail* detail,
                                    Ledger* out) noexcept {
  std::uint64_t in_heap = 0, told = 0;
  for (const Region& region : sources.regions) {
    told += region.lazily_freed_bytes;
    if (region.owner == Owner::kHeap) in_heap += region.lazily_freed_bytes;
  }
  if (told == 0) in_heap = sources.after.lazily_freed;  // not told by mapping
  const double taken = separate_lazily_freed(static_cast<double>(in_heap), sources.program_gives_back, out);
  if (taken <= 0) return 0;
  const auto bytes = static_cast<std::uint64_t>(taken);
  for (Sharing* sharing : {&out->heap_sharing, &line(out, Cause::kUndivided).sharing})
    sharing->only_ours -= std::min(sharing->only_ours, bytes);
  *detail = {};
  detail->cause = Cause::kLazilyFreed;
  detail->name = kServedHeap;
  detail->bytes = bytes;
  detail->sharing.only_ours = bytes;
  add_to(line(out, Cause::kLazilyFreed).sharing, detail->sharing);
  return 1;
}

}  // namespace

bool heap_ranges(Arena& arena, std::span<const Region> regions, std::span<const ResidentRun> runs,
                 HeapRanges* out) noexcept {
  Growing<AddressRange> mapped(arena), resident(arena);
  const auto add = [](Growing<AddressRange>& to, std::uintptr_t begin, std::uintptr_t end) {
    if (to.size() > 0 && to[to.size() - 1].end == begin) to[to.size() - 1].end = end;
    else to.add({begin, end});
  };
  *out = {};
  std::size_t first = 0;
  for (const Region& region : regions) {
    if (region.owner != Owner::kHeap) continue;
    add(mapped, region.begin, region.end);
    while (first < runs.size() && runs[first].end <= region.begin) ++first;
    for (std::size_t r = first; r < runs.size() && runs[r].begin < region.end; ++r) {
      const std::uintptr_t begin = std::max(region.begin, runs[r].begin);
      const std::uintptr_t end = std::min(region.end, runs[r].end);
      add(resident, begin, end);
      out->resident_bytes += end - begin;
    }
  }
  out->mapped = mapped.all();
  out->resident = resident.all();
  return !mapped.out_of_memory() && !resident.out_of_memory();
}

bool build_ledger(Arena& arena, const LedgerSources& sources, Ledger* out) noexcept {
  const std::span<const Region> regions = sources.regions;
  const InMemory* in_memory = measure_regions(arena, regions, sources.runs);
  auto* details = arena.array<LedgerDetail>(3 * regions.size() + 1);
  if (!in_memory || !details) return false;
  for (LedgerLine& l : out->lines) set_exact(l, 0);
  std::uint32_t detail_count = 0;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const Region& region = regions[i];
    if (in_memory[i].bytes == 0 || region.owner == Owner::kKernel) continue;
    detail_count += add_region(region, in_memory[i], sources.files_told, &details[detail_count], out);
  }
  for (const Cause cause : {Cause::kUndivided, Cause::kMetadata})
    add_to(out->heap_sharing, line(out, cause).sharing);
  out->divided = sources.heap != nullptr;
  out->not_divided_why = sources.not_divided_why;
  if (sources.heap) {
    set_heap_lines(*sources.heap, out);
    out->rounding_known = sources.heap->rounding_known;
    out->ownerless_bytes = static_cast<std::uint64_t>(sources.heap->noted.ownerless_holes);
    out->examined = sources.heap->examined;
    out->uncovered_blocks = sources.heap->uncovered_blocks;
    out->live_compared = sources.heap->is_compared;
    out->counted_live_bytes = sources.heap->counted_live;
    out->recorded_live_bytes = sources.heap->recorded_live;
    out->unattributed_bytes = static_cast<std::uint64_t>(sources.heap->unattributed);
    out->pinned_bytes = static_cast<std::uint64_t>(sources.heap->pinned);
  }
  detail_count += add_lazily_freed_heap(sources, &details[detail_count], out);
  out->details = details;
  out->detail_count = group_details({details, detail_count});
  out->rss_before_bytes = sources.before.total;
  out->rss_after_bytes = sources.after.total;
  double sum = 0, heap = 0;
  for (int i = 0; i < kCauseCount; ++i) {
    const double bytes = out->lines[i].bytes.value;
    sum += bytes;
    if (kCauses[i].is_heap()) heap += bytes;
  }
  out->heap_bytes = static_cast<std::uint64_t>(heap);
  // The pages were read while RSS went from the one to the other: what lies between is no contradiction.
  const auto [least, most] = std::minmax(sources.before.total, sources.after.total);
  out->rss_bytes = std::clamp(static_cast<std::uint64_t>(sum), least, most);
  out->unexplained_bytes = static_cast<std::int64_t>(out->rss_bytes) - static_cast<std::int64_t>(sum);
  out->known = true;
  return true;
}

}  // namespace mallard::report
