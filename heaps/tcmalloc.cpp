// SPDX-License-Identifier: Apache-2.0
// The census of gperftools' tcmalloc, from its page map: a tree that leads from each of its pages to the span
// that begins, ends or (spans of small blocks) lies there. Neither tables nor the structures of spans are
// ever given back, so that anybody may read them. Facts from src/{pagemap,span,common}.h of gperftools 2.0
// to 2.18, which differ in none of them but the size of a page; a map is believed only after it has been
// found to describe blocks that we know, small and large. Blocks in the caches of threads and between those
// caches count as handed out: their sum is asked for, where they lie is not known.
#include "heaps/tcmalloc.hpp"

#include <initializer_list>

#include "base/attributes.hpp"
#include "heaps/heap_reader.hpp"

namespace mallard::heaps {
namespace {

constexpr unsigned kAddressBits = 48;
constexpr unsigned kMaxSpanClasses = 256;
constexpr std::size_t kLargestSmallBlock = 256 << 10;
constexpr unsigned kPageShifts[] = {13, 12, 14, 15, 16, 17, 18};  ///< that tcmalloc can be built with

/// What is needed of the structure of a span.
struct Span {
  std::uint64_t first_page, pages, bits;

  std::uint64_t handed_out() const noexcept { return bits & 0xffff; }  ///< blocks, of a span of small ones
  unsigned size_class() const noexcept { return bits >> 16 & 0xff; }   ///< 0 = one large block
  bool in_use() const noexcept { return (bits >> 24 & 3) == 0; }
};
constexpr std::uintptr_t kBitsInSpan = 40;

class PageMap {
 public:
  PageMap(const ProcessMemory& process, const TcmallocMap& map) noexcept : process_(process), map_(map) {
    const unsigned bits = kAddressBits - map.page_shift;
    const unsigned inner = map.levels == 2 ? bits / 2 : (bits + 2) / 3;
    unsigned shift = kAddressBits;
    for (unsigned level = 0; level + 1 < map.levels; ++level) shift_[level] = shift -= inner;
    shift_[map.levels - 1] = map.page_shift;
  }

  std::uint64_t index(unsigned level, std::uintptr_t at) const noexcept {
    const unsigned above = level == 0 ? kAddressBits : shift_[level - 1];
    return (at & ((std::uintptr_t{1} << above) - 1)) >> shift_[level];
  }

  /// The structure of the span at `at`; 0 if there is none. \param next  where there is more to see then
  std::uintptr_t span_at(std::uintptr_t at, std::uintptr_t* next) const noexcept {
    return find(at, next, [this](std::uintptr_t from) { return process_.word(from); });
  }
  /// The same where it may be no map at all.
  std::uintptr_t try_span_at(std::uintptr_t at) const noexcept {
    std::uintptr_t next;
    return find(at, &next, [this](std::uintptr_t from) {
      std::uint64_t word;
      return from % sizeof word == 0 && process_.get(from, &word) ? word : 0;
    });
  }

 private:
  template <typename Word>
  std::uintptr_t find(std::uintptr_t at, std::uintptr_t* next, Word word) const noexcept {
    std::uintptr_t table = map_.root;
    for (unsigned level = 0; table != 0 && level < map_.levels; ++level) {
      *next = align_up(at + 1, std::uintptr_t{1} << shift_[level]);
      table = word(table + index(level, at) * sizeof table);
    }
    return table;
  }

  const ProcessMemory& process_;
  const TcmallocMap& map_;
  unsigned shift_[3];
};

class TcmallocCensus {
 public:
  TcmallocCensus(TcmallocAccess& access, const CensusRequest& request) noexcept
      : access_(access), request_(request), process_(request.process) {}

  CensusResult run() noexcept;

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
  void sweep(AddressRange range) noexcept;
  void report_span(const Span& span) noexcept;
  void report_metadata(std::uintptr_t begin, std::uintptr_t end) noexcept {
    if (begin < end) request_.report({begin, end, UnitKind::kMetadata, 0, 0, 0});
  }

  TcmallocAccess& access_;
  const CensusRequest& request_;
  const ProcessMemory& process_;
  CensusResult result_{.unit_name = "span of tcmalloc"};
  std::uint64_t class_bytes_[kMaxSpanClasses] = {};  ///< by class; 0 = there is no such class
};

/// Class by class: the smallest block that does not fit into one is of the next.
void TcmallocCensus::read_classes() noexcept {
  std::size_t bytes = 0;
  for (unsigned i = 1; i < kMaxSpanClasses && bytes < kLargestSmallBlock; ++i) {
    const std::size_t next = access_.rounded_size(bytes + 1, 0);
    if (next <= bytes) return;
    class_bytes_[i] = bytes = next;
  }
}

/// Whether `map` knows the block.
bool TcmallocCensus::describes(const TcmallocMap& map, const Probe& probe) noexcept {
  const std::uintptr_t at = PageMap(process_, map).try_span_at(probe.block);
  Span span;
  if (at == 0 || at % 8 != 0 || !process_.get(at, &span.first_page) || !process_.get(at + 8, &span.pages) ||
      !process_.get(at + kBitsInSpan, &span.bits))
    return false;
  const std::uintptr_t page = probe.block >> map.page_shift;
  if (!span.in_use() || page < span.first_page || page - span.first_page >= span.pages) return false;
  const std::uintptr_t begin = span.first_page << map.page_shift;
  const std::uint64_t bytes = span.pages << map.page_shift;
  if (span.size_class() == 0) return probe.block == begin && probe.usable == bytes;
  return class_bytes_[span.size_class()] == probe.usable && (probe.block - begin) % probe.usable == 0 &&
         span.handed_out() > 0 && span.handed_out() <= bytes / probe.usable;
}

bool TcmallocCensus::find_root(unsigned page_shift, unsigned levels, std::span<const Probe> probes) noexcept {
  const TcmallocMap form{0, page_shift, levels};
  const std::uintptr_t index = PageMap(process_, form).index(0, probes[0].block) * sizeof index;
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

bool TcmallocCensus::find_map() noexcept {
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
    for (const unsigned levels : {2U, 3U})  // three: built to be small but slow
      if (n == kProbes && !access_.map.root) find_root(page_shift, levels, probes);
  for (int i = 0; i < n; ++i) access_.free(reinterpret_cast<void*>(probes[i].block));
  return access_.map.root != 0;
}

void TcmallocCensus::report_span(const Span& span) noexcept {
  if (!span.in_use()) return;
  const std::uintptr_t begin = span.first_page << access_.map.page_shift;
  const std::uint64_t bytes = span.pages << access_.map.page_shift;
  const std::uint64_t each = span.size_class() == 0 ? bytes : class_bytes_[span.size_class()];
  const std::uint64_t blocks = span.size_class() == 0 ? 1 : span.handed_out();
  if (blocks == 0) return;  // it is about to be given back to the page heap, or comes from there
  if (each == 0 || blocks > bytes / each) {
    ++result_.raced;
    return;
  }
  request_.report({begin, begin + bytes, UnitKind::kBlocks, each, blocks * each, 0});
}

void TcmallocCensus::sweep(AddressRange range) noexcept {
  const PageMap pages(process_, access_.map);
  const unsigned shift = access_.map.page_shift;
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
    const Span span{process_.word(structure), process_.word(structure + 8),
                    process_.word(structure + kBitsInSpan)};
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

CensusResult TcmallocCensus::run() noexcept {
  read_classes();
  if (!find_map()) {
    result_.why_not = "the page map of this tcmalloc is not laid out as in gperftools 2.0 to 2.18";
    return result_;
  }
  result_.thread_cached_bytes =
      property("tcmalloc.thread_cache_free_bytes") + property("tcmalloc.transfer_cache_free_bytes");
  for (std::size_t i = 0; i < request_.heap.size();) sweep(joined_range(request_.heap, &i));
  result_.done = true;
  return result_;
}

}  // namespace

CensusResult tcmalloc_census(TcmallocAccess& access, const CensusRequest& request) noexcept {
  return TcmallocCensus(access, request).run();
}

}  // namespace mallard::heaps
