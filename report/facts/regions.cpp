// SPDX-License-Identifier: Apache-2.0
#include "report/facts/regions.hpp"

#include <algorithm>
#include <initializer_list>
#include <new>

#include "base/os.hpp"
#include "base/text.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/maps.hpp"
#include "elf/modules.hpp"
#include "elf/named_addresses.hpp"
#include "inside/known_allocators.hpp"
#include "inside/recognise.hpp"
#include "record/mappings.hpp"
#include "report/facts/glibc_memory.hpp"
#include "report/facts/glibc_threads.hpp"
#include "report/facts/roles.hpp"
#include "report/facts/shared_names.hpp"
#include "report/model/served.hpp"

namespace mallard::report {
namespace {

constexpr std::uintptr_t kArenaBytes = 64u << 20;

struct TextRange {
  std::uintptr_t begin = 0, end = 0;
  bool has(std::uintptr_t pc) const noexcept { return pc >= begin && pc < end; }
  bool lies_in(const elf::Module& m) const noexcept { return end != 0 && begin >= m.begin && begin < m.end; }
};

TextRange text_of(const link_map* object) noexcept {
  TextRange range;
  if (!object || !elf::text_range(object, &range.begin, &range.end)) return {};
  return range;
}

/// Pages of hugetlbfs are reserved apart: the kernel does not count them in RSS.
bool is_kernel(const elf::Mapping& m) noexcept {
  return m.path.starts_with("[vdso") || m.path.starts_with("[vvar") || m.path.starts_with("[vsyscall") ||
         m.path.starts_with("/anon_hugepage") || m.path.starts_with("/dev/hugepages/");
}

bool is_anonymous(const elf::Mapping& m) noexcept {
  return m.inode == 0 || (!m.shared && m.path.starts_with("/dev/zero"));
}

std::span<record::MappedInterval> copy_log(Arena& arena) noexcept {
  constexpr std::uint32_t kAtOnce = 512;  // one hold of the log's lock
  Growing<record::MappedInterval> all(arena);
  auto* some = arena.array<record::MappedInterval>(kAtOnce);
  if (!some) return {};
  std::uintptr_t from = 0;
  for (std::uint32_t n; (n = record::copy_mappings(from, some, kAtOnce)) > 0; from = some[n - 1].end)
    for (std::uint32_t i = 0; i < n; ++i) {
      // The break may lie within a page, which belongs to whoever has its first byte.
      const record::MappedInterval whole{align_up(some[i].begin, kPageBytes),
                                         align_up(some[i].end, kPageBytes), some[i].caller};
      if (whole.begin < whole.end && !all.add(whole)) return all.all();
    }
  return all.all();
}

std::span<os::OwnRange> copy_own_ranges(Arena& arena, const ProcessMemory& process,
                                        const Served& served) noexcept {
  auto* ranges = arena.array<os::OwnRange>(os::kMaxOwnRanges);
  if (!ranges) return {};
  auto n = static_cast<std::uint32_t>(std::min<std::size_t>(served.own_ranges.size(), os::kMaxOwnRanges));
  if (process.is_own()) n = os::own_ranges(ranges, os::kMaxOwnRanges);
  else std::copy(served.own_ranges.begin(), served.own_ranges.begin() + n, ranges);
  std::sort(ranges, ranges + n,
            [](const os::OwnRange& a, const os::OwnRange& b) { return a.begin < b.begin; });
  return {ranges, n};
}

/// The first of ascending, disjoint ranges that ends behind `address`; nullptr if none does.
template <class Range>
const Range* range_from(std::span<Range> ranges, std::uintptr_t address) noexcept {
  const auto at = std::partition_point(ranges.begin(), ranges.end(),
                                       [address](const Range& r) { return r.end <= address; });
  return at == ranges.end() ? nullptr : &*at;
}

template <class Range>
std::uintptr_t begin_behind(std::span<Range> ranges, std::uintptr_t address) noexcept {
  const Range* next = range_from(ranges, address);
  return next ? std::max(next->begin, address) : ~std::uintptr_t{0};
}

class Classifier {
 public:
  Classifier(Arena& arena, const ProcessMemory& process, const Served& served) noexcept
      : arena_(arena),
        process_(process),
        regions_(arena),
        mappings_(arena),
        glibc_(process),
        served_(served) {
    // Who serves a process without mallard is found out when all of it has been listed.
    if (process.is_own()) know_own();
  }

  bool run(Regions* out) noexcept {
    const bool complete = elf::for_each_mapping(
        arena_, ProcessMemory::Path(process_, "maps").c_str(),
        [](const elf::Mapping& m, void* self) noexcept { static_cast<Classifier*>(self)->mappings_.add(m); },
        this);
    if (!complete || !modules_.read(arena_, mappings_.all(), process_)) return false;
    list_segments();
    const ThreadLayout threads = thread_layout_of(modules_);
    glibc_.set_thread_bytes(threads.bytes);
    if (!process_.is_own()) know_other();
    if (process_.is_recorded()) log_ = copy_log(arena_);
    if (process_.is_recorded() || !served_.own_ranges.empty())
      own_ = copy_own_ranges(arena_, process_, served_);
    regions_.reserve(mappings_.size() + mappings_.size() / 16);
    for (const elf::Mapping& m : mappings_.all()) classify(m);
    adopt_guards();
    std::uint64_t unlogged = 0;
    if (process_.is_own()) add_own_since();
    if (process_.is_recorded())
      unlogged = record::unlogged_mappings() +
                 (process_.is_own() ? os::unknown_own_ranges() : served_.unknown_own_ranges);
    *out = {regions_.all(), modules_, unlogged, threads};
    return !regions_.out_of_memory() && !mappings_.out_of_memory();
  }

 private:
  void know_own() noexcept {
    const bool serves = !served_.bypassed && !served_.stepped_aside;
    const link_map* const object = serves ? served_.backend->object : nullptr;
    glibc_serves_ = object && object == elf::libc_object();
    own_text_ = text_of(elf::own_object());
    if (serves && !object) backend_text_ = own_text_;
    else if (!glibc_serves_) backend_text_ = part_that_serves(text_of(object));
    // jemalloc could use brk, but does only when mmap fails.
    brk_is_heap_ = glibc_serves_ || (object && view_of(served_.backend->name) != "jemalloc" &&
                                     (elf::imports(object, "sbrk") || elf::imports(object, "__sbrk")));
  }

  /// Knows what is mallard's own object in another process, and who serves one with mallard.
  void know_other() noexcept {
    const elf::Module* const own = served_.own_at ? module_at(modules_, served_.own_at) : nullptr;
    if (own) own_text_ = {own->begin, own->end};
    if (!process_.is_recorded()) return;
    const bool serves = !served_.bypassed && !served_.stepped_aside;
    const elf::Module* const backend = serves ? module_at(modules_, served_.backend_at) : nullptr;
    glibc_serves_ = backend && !is_inside() && elf::is_libc(*backend);
    if (serves && served_.backend_at == 0) backend_text_ = own_text_;
    else if (backend && !glibc_serves_) backend_text_ = part_that_serves({backend->begin, backend->end});
    brk_is_heap_ = glibc_serves_ || (backend && view_of(served_.backend->name) != "jemalloc" &&
                                     inside::contents_of(*backend, process_).uses_brk);
  }

  /// True where a part of the program serves: it has text of its own, and its variables cannot be told.
  bool is_inside() const noexcept { return served_.backend_code.end != 0; }
  TextRange part_that_serves(TextRange all) const noexcept {
    return is_inside() ? TextRange{served_.backend_code.begin, served_.backend_code.end} : all;
  }

  Region of(const elf::Mapping& m, Owner owner) const noexcept {
    Region r{};
    r.begin = m.begin;
    r.end = m.end;
    r.owner = owner;
    r.readable = m.readable;
    r.writable = m.writable;
    r.shared = m.shared;
    r.private_anonymous = is_anonymous(m) && !m.shared;
    r.device = m.device;
    r.inode = m.inode;
    r.offset = m.offset;
    return r;
  }

  void add(const elf::Mapping& m, Owner owner, std::string_view name) noexcept {
    Region r = of(m, owner);
    r.name = name;
    regions_.add(r);
  }

  void classify(const elf::Mapping& m) noexcept {
    if (is_kernel(m)) return add(m, Owner::kKernel, m.path);
    if (m.path == "[stack]") return add(m, Owner::kStack, "main");
    elf::Mapping piece = m;
    for (; piece.begin < m.end; piece.begin = piece.end) {
      const Segment* next = range_from(segments_, piece.begin);
      const elf::Module* module = next && next->begin <= piece.begin ? next->module : nullptr;
      // Another file may be mapped over a segment; anonymous memory in one is .bss, or replaces its pages.
      const bool same_file = module && m.inode == module->inode && m.device == module->device;
      if (m.inode != 0 && !same_file) module = nullptr;
      piece.end = std::min(m.end, m.inode != 0 ? m.end : module ? next->end : next ? next->begin : m.end);
      if (module) add(piece, owner_of_segment(*module, piece), module->path);
      else classify_outside(piece);
    }
  }

  /// Not within the segments of a loaded object.
  void classify_outside(const elf::Mapping& m) noexcept {
    if (is_shared_memory(m)) return add_shared_memory(m);
    if (!is_anonymous(m)) return add(m, Owner::kFile, m.path);
    for (std::uintptr_t at = m.begin; at < m.end;) at = classify_anonymous(m, at);
  }

  void add_shared_memory(const elf::Mapping& m) noexcept {
    Region r = of(m, Owner::kShared);
    r.name = name_of_shared_memory(arena_, m);
    r.allocator = runtime_of_shared_memory(m.path);
    const record::MappedInterval* logged = range_from(log_, m.begin);
    if (logged && logged->begin <= m.begin) r.mapper = logged->caller;
    regions_.add(r);
  }

  Owner owner_of_segment(const elf::Module& module, const elf::Mapping& m) const noexcept {
    if (m.begin < module.data_begin || (!m.writable && m.executable)) return Owner::kFile;
    if (own_text_.lies_in(module)) return Owner::kOwn;
    if (!is_inside() && backend_text_.lies_in(module)) return Owner::kHeapMetadata;
    return Owner::kFile;
  }

  /// Adds the region of `m` that begins at `at`. \return its end
  std::uintptr_t classify_anonymous(const elf::Mapping& m, std::uintptr_t at) noexcept {
    Region r = of(m, Owner::kAnonymous);
    r.begin = at;
    if (const inside::KnownAllocator* named = inside::allocator_of_mapping(m.path)) r.allocator = named->name;
    if (const os::OwnRange* own = range_from(own_, at)) {
      if (own->begin <= at) {
        r.end = std::min(m.end, own->end);
        r.owner = Owner::kOwn;
        regions_.add(r);
        return r.end;
      }
      r.end = std::min(r.end, own->begin);
    }
    if (const record::MappedInterval* logged = range_from(log_, at)) {
      if (logged->begin <= at) {
        r.end = std::min(r.end, logged->end);
        r.is_brk = m.path == "[heap]";
        attribute(*logged, &r);
        regions_.add(r);
        return r.end;
      }
      r.end = std::min(r.end, logged->begin);
    }
    return m.path == "[heap]" ? classify_brk(&r) : classify_unlogged(&r);
  }

  void attribute(const record::MappedInterval& logged, Region* r) noexcept {
    const std::uintptr_t pc = logged.caller - 1;  // within the call
    if (backend_text_.has(pc)) {
      r->owner = Owner::kHeap;
      return;
    }
    r->mapper = logged.caller;
    const int module = modules_.find(pc);
    if (module < 0) return;
    r->name = modules_.all()[static_cast<std::size_t>(module)].path;
  }

  std::uintptr_t classify_brk(Region* r) noexcept {
    r->is_brk = true;
    const bool glibcs = glibc_.is_main_heap(r->begin, r->end);
    if (brk_is_heap_ && (glibc_serves_ || !glibcs)) r->owner = Owner::kHeap;
    else if (glibcs) r->allocator = kGlibcMalloc;
    regions_.add(*r);
    return r->end;
  }

  /// End of the private anonymous memory that goes on behind `r`, whatever mappings madvise() cut it into.
  std::uintptr_t reach_of(const Region& r) noexcept {
    const std::span<elf::Mapping> all = mappings_.all();
    std::uintptr_t end = r.end;
    for (const elf::Mapping* m = range_from(all, end); m && m != all.data() + all.size(); ++m) {
      if (m->begin != end || !is_anonymous(*m) || m->shared || !m->readable || !m->writable) break;
      end = m->end;
    }
    for (const std::uintptr_t next : {begin_behind(own_, r.end), begin_behind(log_, r.end)})
      end = std::min(end, next);
    return end;
  }

  std::uintptr_t classify_unlogged(Region* r) noexcept {
    if (r->readable && r->writable) {
      GlibcPiece piece = last_;
      if (last_.end <= r->begin) {
        piece = glibc_.next(r->begin, r->end, reach_of(*r));
        if (piece.kind == GlibcKind::kChunk || piece.kind == GlibcKind::kArena) last_ = piece;
      }
      r->is_arena = piece.kind == GlibcKind::kArena;
      r->end = std::min(r->end, piece.end);
      if (piece.kind == GlibcKind::kStack) {
        const bool is_own = served_.reporter_stack >= piece.begin && served_.reporter_stack < piece.end;
        r->owner = is_own ? Owner::kOwn : Owner::kStack;
      } else if (piece.kind != GlibcKind::kUnknown) {
        if (glibc_serves_) r->owner = Owner::kHeap;
        else r->allocator = kGlibcMalloc;
      }
    }
    regions_.add(*r);
    return r->end;
  }

  /// Inaccessible pages below a stack and behind an arena's heap belong to it.
  void adopt_guards() noexcept {
    const std::span<Region> all = regions_.all();
    for (std::size_t i = 0; i < all.size(); ++i) {
      Region& r = all[i];
      if (r.owner != Owner::kAnonymous || r.mapper || r.readable || r.writable) continue;
      const Region* below = i > 0 && all[i - 1].end == r.begin ? &all[i - 1] : nullptr;
      const Region* above = i + 1 < all.size() && all[i + 1].begin == r.end ? &all[i + 1] : nullptr;
      const Region* heir = nullptr;
      if (below && below->is_arena && below->begin / kArenaBytes == (r.end - 1) / kArenaBytes) heir = below;
      else if (above && above->owner == Owner::kStack) heir = above;
      if (!heir) continue;
      r.owner = heir->owner;
      r.allocator = heir->allocator;
      r.is_arena = heir->is_arena;
    }
  }

  /// Memory that this report took for itself since the mappings were listed: it counts in RSS. With 60,000
  /// mappings it is 10 MiB.
  void add_own_since() noexcept {
    Growing<Region> later(arena_);
    const std::span<Region> listed = regions_.all();
    for (const os::OwnRange& own : copy_own_ranges(arena_, process_, served_)) {
      const Region* known = range_from(listed, own.begin);
      if (known && known->begin < own.end) continue;
      Region r{};
      r.begin = own.begin;
      r.end = own.end;
      r.owner = Owner::kOwn;
      r.readable = r.writable = r.private_anonymous = true;
      later.add(r);
    }
    // The few are merged into the many from the end on.
    std::size_t left = listed.size();
    for (const Region& r : later.all())
      if (!regions_.add(r)) return;
    const std::span<Region> all = regions_.all();
    for (std::size_t to = all.size(), few = later.size(); few > 0;) {
      const bool is_later = left == 0 || all[left - 1].begin < later[few - 1].begin;
      all[--to] = is_later ? later[--few] : all[--left];
    }
  }

  struct Segment {
    std::uintptr_t begin, end;
    const elf::Module* module;
  };

  /// The segments of all loaded objects; of those that overlap (pages at both ends), the first has the page.
  void list_segments() noexcept {
    Growing<Segment> all(arena_);
    for (const elf::Module& m : modules_.all())
      if (m.kind == elf::ModuleKind::kElf)
        for (const elf::SegmentPages& s : m.segments) all.add({s.begin, s.end, &m});
    segments_ = all.all();
    std::sort(segments_.begin(), segments_.end(),
              [](const Segment& a, const Segment& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < segments_.size(); ++i)
      segments_[i].begin = std::min(segments_[i].end, std::max(segments_[i].begin, segments_[i - 1].end));
  }

  Arena& arena_;
  const ProcessMemory& process_;
  Growing<Region> regions_;
  Growing<elf::Mapping> mappings_;
  elf::Modules modules_;
  std::span<Segment> segments_;
  std::span<record::MappedInterval> log_;
  std::span<os::OwnRange> own_;
  GlibcMemory glibc_;
  const Served& served_;
  TextRange own_text_, backend_text_;
  GlibcPiece last_{};  ///< the mapped chunk or arena heap of glibc that was met last
  bool glibc_serves_ = false, brk_is_heap_ = false;
};

}  // namespace

bool read_regions(Arena& arena, const ProcessMemory& process, const Served& served, Regions* out) noexcept {
  auto* memory = arena.allocate(sizeof(Classifier), alignof(Classifier));  // too large for a small stack
  if (!memory) return false;
  return (new (memory) Classifier(arena, process, served))->run(out);
}

}  // namespace mallard::report
