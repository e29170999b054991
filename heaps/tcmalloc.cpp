// SPDX-License-Identifier: Apache-2.0
// The census of gperftools' tcmalloc, from its page map: a tree that leads from each of its pages to the span
// that begins, ends or (spans of small blocks) lies there. Neither tables nor the structures of spans are
// ever given back, so that anybody may read them. Facts from src/{pagemap,span,common}.h of gperftools 2.0
// to 2.18, which differ in none of them but the size of a page; a map is believed only after it has been
// found to describe blocks that we know, small and large. Blocks in the caches of threads and between those
// caches count as handed out: their sum is asked for, where they lie is not known.
#include "heaps/tcmalloc.hpp"

#include "base/attributes.hpp"
#include "heaps/heap_reader.hpp"
#include "heaps/tcmalloc_blocks.hpp"
#include "heaps/tcmalloc_pages.hpp"

namespace mallard::heaps {
namespace {

constexpr std::size_t kLargestSmallBlock = 256 << 10;

/// Learns of a tcmalloc that can be asked what others have to find.
class Asker {
 public:
  Asker(TcmallocAccess& access, const CensusRequest& request) noexcept
      : access_(access), request_(request), process_(request.process) {}

  /// \return false if its page map was not found
  bool run(TcmallocFound* out) noexcept {
    class_bytes_ = out->class_bytes;
    read_classes();
    if (!find_map()) return false;
    out->map = access_.map;
    return true;
  }
  std::uint64_t cached() noexcept {
    return property("tcmalloc.thread_cache_free_bytes") + property("tcmalloc.transfer_cache_free_bytes");
  }

 private:
  /// A block that we know.
  struct Probe {
    std::uintptr_t block;
    std::uint64_t usable;
  };

  std::uint64_t property(const char* name) noexcept {
    std::size_t value = 0;
    return access_.property(name, &value) ? value : 0;
  }
  void read_classes() noexcept;
  bool find_map() noexcept;
  bool find_root(unsigned page_shift, unsigned levels, std::span<const Probe> probes) noexcept;
  bool describes(const TcmallocMap& map, const Probe& probe) noexcept;

  TcmallocAccess& access_;
  const CensusRequest& request_;
  const ProcessMemory& process_;
  std::uint64_t* class_bytes_ = nullptr;
};

class TcmallocCensus {
 public:
  TcmallocCensus(const TcmallocFound& found, const CensusRequest& request) noexcept
      : found_(found), request_(request), process_(request.process), blocks_(found, request) {}

  CensusResult run(std::uint64_t cached_bytes) noexcept {
    result_.thread_cached_bytes = cached_bytes;
    for (std::size_t i = 0; i < request_.heap.size();) sweep(joined_range(request_.heap, &i));
    if (request_.on_block) blocks_.take_out_cached();
    result_.done = true;
    return result_;
  }

 private:
  void sweep(AddressRange range) noexcept;
  TcmallocSpan read_span(std::uintptr_t structure) const noexcept;
  void report_span(const TcmallocSpan& span) noexcept;
  void report_metadata(std::uintptr_t begin, std::uintptr_t end) noexcept {
    if (begin < end) request_.report({begin, end, UnitKind::kMetadata, 0, 0, 0});
  }

  const TcmallocFound& found_;
  const CensusRequest& request_;
  const ProcessMemory& process_;
  TcmallocBlocks blocks_;
  CensusResult result_{.unit_name = "span of tcmalloc"};
};

/// Class by class: the smallest block that does not fit into one is of the next.
void Asker::read_classes() noexcept {
  std::size_t bytes = 0;
  for (unsigned i = 1; i < kMaxSpanClasses && bytes < kLargestSmallBlock; ++i) {
    const std::size_t next = access_.rounded_size(bytes + 1, 0);
    if (next <= bytes) return;
    class_bytes_[i] = bytes = next;
  }
}

/// Whether `map` knows the block.
bool Asker::describes(const TcmallocMap& map, const Probe& probe) noexcept {
  TcmallocSpan span;
  if (!TcmallocPageMap(process_, map).try_read(probe.block, &span) || !span.in_use()) return false;
  const std::uintptr_t begin = span.first_page << map.page_shift;
  const std::uint64_t bytes = span.pages << map.page_shift;
  if (span.size_class() == 0) return probe.block == begin && probe.usable == bytes;
  return class_bytes_[span.size_class()] == probe.usable && (probe.block - begin) % probe.usable == 0 &&
         span.handed_out() > 0 && span.handed_out() <= bytes / probe.usable;
}

bool Asker::find_root(unsigned page_shift, unsigned levels, std::span<const Probe> probes) noexcept {
  const TcmallocMap form{0, page_shift, levels};
  const std::uintptr_t index = TcmallocPageMap(process_, form).index(0, probes[0].block) * sizeof index;
  RangeCursor tables(request_.heap);
  for (std::uintptr_t at = access_.data.begin + index; at + sizeof at <= access_.data.end; at += sizeof at) {
    const auto table = process_.word(at);
    if (table % sizeof at != 0 || !tables.contains(table)) continue;
    const TcmallocMap map{at - index, page_shift, levels};
    bool all = true;
    for (const Probe& probe : probes) all = all && describes(map, probe);
    if (!all) continue;
    access_.map = map;
    return true;
  }
  return false;
}

bool Asker::find_map() noexcept {
  if (access_.map.root) return true;
  constexpr std::size_t kProbeBytes[] = {100, 3000, 20'000, 300'000};
  constexpr int kProbes = sizeof kProbeBytes / sizeof kProbeBytes[0];
  Probe probes[kProbes];
  int n = 0;
  for (const std::size_t bytes : kProbeBytes) {
    void* block = access_.malloc(bytes);
    if (!block) break;
    probes[n++] = {address_of(block), access_.usable_size(block)};
  }
  for (const unsigned page_shift : kPageShifts)
    for (const unsigned levels : kPageMapLevels)
      if (n == kProbes && !access_.map.root) find_root(page_shift, levels, probes);
  for (int i = 0; i < n; ++i) access_.free(reinterpret_cast<void*>(probes[i].block));
  return access_.map.root != 0;
}

void TcmallocCensus::report_span(const TcmallocSpan& span) noexcept {
  if (!span.in_use()) return;
  const std::uintptr_t begin = span.first_page << found_.map.page_shift;
  const std::uint64_t bytes = span.pages << found_.map.page_shift;
  const std::uint64_t each = span.size_class() == 0 ? bytes : found_.class_bytes[span.size_class()];
  const std::uint64_t blocks = span.size_class() == 0 ? 1 : span.handed_out();
  if (blocks == 0) return;  // it is about to be given back to the page heap, or comes from there
  if (each == 0 || blocks > bytes / each) {
    ++result_.raced;
    return;
  }
  if (request_.on_block) blocks_.report_span(span);
  request_.report({begin, begin + bytes, UnitKind::kBlocks, each, blocks * each, 0});
}

TcmallocSpan TcmallocCensus::read_span(std::uintptr_t structure) const noexcept {
  if (process_.is_own())
    return {process_.word(structure), process_.word(structure + 8), process_.word(structure + kBitsInSpan),
            process_.word(structure + kFreeInSpan)};
  std::uint64_t words[kBitsInSpan / 8 + 1];  // one call of the kernel
  if (!process_.get(structure, &words)) return {};
  return {words[0], words[1], words[kBitsInSpan / 8], words[kFreeInSpan / 8]};
}

void TcmallocCensus::sweep(AddressRange range) noexcept {
  const TcmallocPageMap pages(process_, found_.map);
  const unsigned shift = found_.map.page_shift;
  const std::uintptr_t page_bytes = std::uintptr_t{1} << shift;
  bool lost = false;                      // since a race: pages without a span may be the inside of one
  std::uintptr_t metadata = range.begin;  // pages without a span from here on
  for (std::uintptr_t at = align_up(range.begin, page_bytes), next = at; at < range.end;) {
    const std::uintptr_t structure = pages.span_at(at, &next);
    if (structure == 0) {
      at = next;
      if (lost) metadata = at;
      continue;
    }
    ++result_.reads;
    const TcmallocSpan span = read_span(structure);
    if (!lost) report_metadata(metadata, at);
    lost = span.first_page != at >> shift || span.pages == 0 || span.pages > (range.end - at) >> shift;
    if (lost) {
      ++result_.raced;  // it is being split or merged: its parts are in the map, if not here then further on
      at += page_bytes;
    } else {
      report_span(span);
      at += span.pages << shift;
    }
    metadata = at;
  }
  if (!lost) report_metadata(metadata, range.end);
}

}  // namespace

CensusResult tcmalloc_census(TcmallocAccess& access, const CensusRequest& request) noexcept {
  TcmallocFound found{};
  Asker asker(access, request);
  if (!asker.run(&found))
    return {.done = false,
            .why_not = "the page map of this tcmalloc is not laid out as in gperftools 2.0 to 2.18",
            .unit_name = "span of tcmalloc"};
  return TcmallocCensus(found, request).run(asker.cached());
}

CensusResult tcmalloc_census(const TcmallocFound& found, const CensusRequest& request) noexcept {
  return TcmallocCensus(found, request).run(cached_in(request.process, found));
}

}  // namespace mallard::heaps
