// SPDX-License-Identifier: Apache-2.0
#include "outside/heaps_found.hpp"

#include <algorithm>
#include <utility>

#include "backends/backend.hpp"
#include "heaps/census_parts.hpp"
#include "heaps/glibc.hpp"
#include "heaps/heap_reader.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/mimalloc.hpp"
#include "heaps/tcmalloc.hpp"
#include "inside/recognise.hpp"
#include "outside/cut_regions.hpp"
#include "outside/glibc.hpp"
#include "outside/glibc_arenas.hpp"
#include "outside/mimalloc_map.hpp"
#include "outside/musl.hpp"
#include "outside/observed_server.hpp"
#include "outside/probed_pages.hpp"
#include "outside/served_heap.hpp"

namespace mallard::outside {
namespace {

using report::Owner;
using report::Region;

/// A heap that was found, and what asks it.
struct Heap {
  std::string_view backend;    ///< as Backend::name has it
  std::string_view allocator;  ///< as Region::allocator has it
  heaps::CensusResult (*census)(const heaps::CensusRequest& request);
  std::span<const AddressRange> ranges;
  std::uint64_t resident_bytes;
  char version[64];
  std::string_view path;  ///< of the object that has the allocator inside
};

constexpr std::size_t kMostHeaps = 4;

constinit backends::Backend g_backend{};
constinit backends::Backend g_beside{};  ///< its name and version alone mean something here
constinit Heap g_heaps[kMostHeaps]{};
constinit std::size_t g_heap_count = 0;
constinit Arena* g_arena = nullptr;
constinit heaps::JemallocAccess g_jemalloc{};
constinit char g_conf_variable[sizeof backends::Backend::conf_variable] = "";
constinit heaps::MimallocAccess g_mimalloc{};
constinit heaps::TcmallocFound g_tcmalloc{};
constinit MuslHeap g_musl{};

const char* why_nothing_is_recorded() noexcept { return "looked at from outside; no call site is known"; }

void set_text(char* to, std::size_t bytes, std::string_view text) noexcept {
  TextBuffer(to, bytes).add(text);
}

heaps::CensusResult census_of_jemalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::jemalloc_census(g_jemalloc, request);
}
heaps::CensusResult census_of_mimalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::mimalloc_census(g_mimalloc, request);
}
heaps::CensusResult census_of_tcmalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::tcmalloc_census(g_tcmalloc, request);
}
heaps::CensusResult census_of_musl(const heaps::CensusRequest& request) noexcept {
  return g_musl.census(request);
}
heaps::CensusResult census_of_what_cannot_be_read(const heaps::CensusRequest&) noexcept {
  return {.done = false, .why_not = "the kernel does not let this command read the memory of the process"};
}

/// Asks each heap; the first is the largest, whose units give the name.
heaps::CensusResult census_of_all(const heaps::CensusRequest& request) noexcept {
  heaps::CensusPart parts[kMostHeaps];
  for (std::size_t i = 0; i < g_heap_count; ++i)
    parts[i] = {g_heaps[i].census, g_heaps[i].ranges, g_heaps[i].census == heaps::census_glibc};
  return heaps::census_of_parts(*g_arena, {parts, g_heap_count}, request);
}

/// Finds out, once for each process, whose heaps are there.
class Claims {
 public:
  Claims(Arena& arena, report::Memory* memory) noexcept
      : arena_(arena),
        memory_(*memory),
        process_(*memory->process),
        modules_(memory->regions.modules),
        regions_(memory->regions.all),
        residency_(memory->residency),
        in_memory_(report::measure_regions(arena, regions_, residency_.runs())) {}

  void run() noexcept {
    FixedText<32> version;
    const elf::Module* glibc = find_glibc(modules_, version);
    FixedText<64> words;
    words.add("glibc ").add(glibc ? version.view() : "of unknown version, linked statically");
    if (!in_memory_ || !can_be_read()) return claim_break(glibc ? "system" : "unknown", words.view(), glibc);
    const elf::Module* musl = find_musl(modules_);
    const bool is_dynamic = glibc && file_name_of(glibc->path).starts_with("libc");
    g_backend.takes_no_preload = !is_dynamic;
    if (!is_dynamic) look_for_musl(musl);
    look_for_go(!is_dynamic && !musl);
    const bool is_known = heaps::set_glibc_version(glibc ? version.c_str() : version_by_arena(process_, modules_));
    // Before glibc's: numbers in blocks of others may look like the header of a chunk that it has mapped.
    for (const elf::Module& m : modules_.all()) look_into(m);
    if (is_known)
      add({"system", report::kGlibcMalloc, heaps::census_glibc, {}, 0, {}, {}}, words.view(), glibc);
    std::size_t largest = 0;
    for (std::size_t i = 1; i < g_heap_count; ++i)
      if (g_heaps[i].resident_bytes > g_heaps[largest].resident_bytes) largest = i;
    std::swap(g_heaps[0], g_heaps[largest]);
    if (g_heap_count > 0) {
      serve(g_heaps[0].backend, view_of(g_heaps[0].version), g_heaps[0].path);
      g_backend.census = census_of_all;
    } else {
      serve_unknown(glibc);
    }
    name_observed(modules_, &g_backend);
    set_text(g_beside.name, sizeof g_beside.name, "system");
    set_text(g_beside.version, sizeof g_beside.version, words.view());
  }

 private:
  static void serve(std::string_view name, std::string_view version, std::string_view path) noexcept {
    set_text(g_backend.name, sizeof g_backend.name, name);
    set_text(g_backend.version, sizeof g_backend.version, version);
    set_text(g_backend.path, sizeof g_backend.path, path);
    if (name == "jemalloc")
      set_text(g_backend.conf_variable, sizeof g_backend.conf_variable, view_of(g_conf_variable));
  }

  void claim_break(std::string_view name, std::string_view version, const elf::Module* module) noexcept {
    for (Region& r : regions_)
      if (r.owner == Owner::kAnonymous && r.is_brk) r.owner = Owner::kHeap;
    serve(name, module ? version : "", module ? module->path : "");
    g_backend.census = census_of_what_cannot_be_read;
  }

  /// Heaps of a form that no census knows: the program break is one at least.
  void serve_unknown(const elf::Module* glibc) noexcept {
    const elf::Module* musl = find_musl(modules_);
    if (unasked_[0] == '\0') unasked_in_ = find_own_malloc(modules_, {unasked_, sizeof unasked_});
    if (unasked_in_) claim_break(unasked_, unasked_version_, unasked_in_);
    else
      claim_break(musl    ? "musl"
                  : glibc ? "system"
                          : report::kNoAllocator,
                  glibc && !musl ? "glibc" : "", musl ? musl : glibc);
    // Of those that have a census nothing with the form of their books was met.
    const std::string_view name = unasked_;
    const bool has_census = name == "jemalloc" || name == "mimalloc" || name == "tcmalloc";
    g_backend.census = has_census ? census_of_no_layout : nullptr;
  }

  bool can_be_read() const noexcept {
    for (const report::ResidentRun& run : residency_.runs()) {
      char byte;
      if (process_.get(run.begin, &byte)) return true;
    }
    return false;
  }

  /// Makes the regions of an allocator its heap.
  void add(Heap heap, std::string_view version, const elf::Module* module) noexcept {
    if (!in_memory_) return;
    Growing<AddressRange> ranges(arena_);
    for (std::size_t i = 0; i < regions_.size(); ++i) {
      Region& r = regions_[i];
      if (r.owner != Owner::kAnonymous || r.allocator != heap.allocator) continue;
      r.owner = Owner::kHeap;
      heap.resident_bytes += in_memory_[i].bytes;
      if (ranges.size() > 0 && ranges[ranges.size() - 1].end == r.begin)
        ranges[ranges.size() - 1].end = r.end;
      else ranges.add({r.begin, r.end});
    }
    if (ranges.size() == 0 || g_heap_count == kMostHeaps) return;
    heap.ranges = ranges.all();
    set_text(heap.version, sizeof heap.version, version);
    heap.path = module ? module->path : std::string_view();
    g_heaps[g_heap_count++] = heap;
    if (module) own_data(*module, heap.backend);
  }

  /// The global variables of an allocator's own library are its books, as from inside.
  void own_data(const elf::Module& module, std::string_view backend) noexcept {
    FixedText<48> beginning;
    if (!file_name_of(module.path).starts_with(beginning.add("lib").add(backend).view())) return;
    for (Region& r : regions_)
      if (r.owner == Owner::kFile && r.begin >= module.data_begin && r.end <= module.span_end)
        r.owner = Owner::kHeapMetadata;
  }

  void look_into(const elf::Module& module) noexcept {
    if (!in_memory_) return;
    const inside::Contents inside = inside::contents_of(module, process_);
    for (const inside::CarriedAllocator& c : inside.all()) {
      const AddressRange data{module.data_begin, module.span_end};
      const std::size_t before = g_heap_count;
      if (c.allocator->name == "jemalloc")
        look_for_jemalloc(module, data, view_of(c.version), c, inside.defines_malloc);
      else if (c.allocator->name == "mimalloc") look_for_mimalloc(module, data, view_of(c.version));
      else if (c.allocator->name == "tcmalloc") look_for_tcmalloc(module, data, view_of(c.version));
      // A heap without a live block has no form.
      if (g_heap_count == before && inside.defines_malloc && !c.allocator->is_managed)
        note_unasked(c, module);
    }
  }

  /// An allocator that owns malloc, and that no census knows, or none can find.
  void note_unasked(const inside::CarriedAllocator& carried, const elf::Module& module) noexcept {
    if (unasked_[0] != '\0') return;
    set_text(unasked_, sizeof unasked_, carried.allocator->name);
    set_text(unasked_version_, sizeof unasked_version_, view_of(carried.version));
    unasked_in_ = &module;
  }

  /// Go's runtime maps its heap at addresses of its own choice; without a libc, all that is mapped is the
  /// runtime's.
  void look_for_go(bool is_alone) noexcept {
    const auto has_go = [this](const elf::Module& m) {
      const inside::Contents inside = inside::contents_of(m, process_);
      return std::any_of(inside.all().begin(), inside.all().end(), [](const inside::CarriedAllocator& c) {
        return c.allocator->name == inside::kGoHeap;
      });
    };
    if (!std::any_of(modules_.all().begin(), modules_.all().end(), has_go)) return;
    constexpr std::uintptr_t kFirst = 0xc0'0000'0000, kLast = 0xd0'0000'0000,
                             kHints = (std::uintptr_t{1} << 40) - 1;
    for (Region& r : regions_) {
      const bool is_hinted = (r.begin & kHints) >= kFirst && (r.begin & kHints) < kLast;
      if (is_candidate(r, "") && (is_alone || is_hinted)) r.allocator = inside::kGoHeap;
    }
  }

  /// By its form alone: a program may be linked with it statically.
  void look_for_musl(const elf::Module* module) noexcept {
    Growing<AddressRange> theirs(arena_);
    for (const Region& r : regions_)
      if (is_candidate(r, "") || (r.is_brk && r.owner == Owner::kAnonymous)) theirs.add({r.begin, r.end});
    Growing<AddressRange> resident(arena_);
    for (const report::ResidentRun& run : residency_.runs()) resident.add({run.begin, run.end});
    if (!g_musl.find(arena_, process_, heaps::common(arena_, resident.all(), theirs.all()))) return;
    if (!cut_regions(arena_, g_musl.memory(), "musl", &memory_)) return;
    if (take_cut_regions())
      add({"musl", "musl", census_of_musl, {}, 0, {}, {}},
          module ? "mallocng" : "mallocng, linked statically", module);
  }

  /// After regions were cut. \return false if memory is out
  bool take_cut_regions() noexcept {
    regions_ = memory_.regions.all;
    in_memory_ = report::measure_regions(arena_, regions_, residency_.runs());
    return in_memory_ != nullptr;
  }

  /// A jemalloc that was built with a prefix has it before the name of its variable, too.
  void add_conf_variable(const inside::CarriedAllocator& carried, bool defines_malloc) noexcept {
    constexpr std::string_view kPrivate = "je_";
    const std::string_view symbol = view_of(carried.symbol);
    TextBuffer to(g_conf_variable, sizeof g_conf_variable);
    std::size_t prefix = 0;
    if (symbol.starts_with("_rjem_")) prefix = 6;
    else if (symbol.starts_with("je_malloc")) prefix = kPrivate.size();
    else if (symbol.find(kPrivate) != symbol.npos) prefix = symbol.find(kPrivate);
    if (prefix == 0 && !defines_malloc) to.add("PREFIX_");  // not told
    for (const char c : part_of(symbol, 0, prefix))
      to.add(c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
    to.add("MALLOC_CONF");
  }

  void look_for_jemalloc(const elf::Module& module, AddressRange data, std::string_view version,
                         const inside::CarriedAllocator& carried, bool defines_malloc) noexcept {
    if (g_jemalloc.map.root != 0) return;
    g_jemalloc.map = heaps::find_jemalloc_map(process_, data, probes());
    if (g_jemalloc.map.root == 0) return;
    mark("jemalloc", [this](std::uintptr_t page) noexcept {
      return heaps::is_jemallocs(process_, g_jemalloc.map, page);
    });
    add({"jemalloc", "jemalloc", census_of_jemalloc, {}, 0, {}, {}}, version, &module);
    add_conf_variable(carried, defines_malloc);
  }

  void look_for_mimalloc(const elf::Module& module, AddressRange data, std::string_view version) noexcept {
    if (g_mimalloc.layout.shape) return;
    g_mimalloc.layout = heaps::find_mimalloc_layout(process_, data, probes());
    if (!g_mimalloc.layout.shape) return;
    mark("mimalloc", [this](std::uintptr_t page) noexcept {
      return heaps::is_mimallocs(process_, g_mimalloc.layout, page);
    });
    if (claim_mimalloc_map(arena_, g_mimalloc.layout, &memory_) && !take_cut_regions()) return;
    add({"mimalloc", "mimalloc", census_of_mimalloc, {}, 0, {}, {}}, version, &module);
  }

  /// It has the program break, too.
  void look_for_tcmalloc(const elf::Module& module, AddressRange data, std::string_view version) noexcept {
    if (g_tcmalloc.map.root != 0) return;
    const auto may_be_its = [](const Region& r) {
      return is_candidate(r, r.allocator) || (r.owner == Owner::kAnonymous && r.is_brk && r.allocator.empty());
    };
    if (!heaps::find_tcmalloc(process_, data, pages_.find(residency_, regions_, in_memory_, may_be_its),
                              &g_tcmalloc))
      return;
    for (Region& r : regions_)
      if (may_be_its(r) && any_page(residency_, r, kLookedAt, [this](std::uintptr_t page) noexcept {
            return heaps::is_tcmallocs(process_, g_tcmalloc, page);
          }))
        r.allocator = "tcmalloc";
    add({"tcmalloc", "tcmalloc", census_of_tcmalloc, {}, 0, {}, {}}, version, &module);
  }

  static bool is_candidate(const Region& r, std::string_view allocator) noexcept {
    return r.owner == Owner::kAnonymous && r.readable && r.writable && !r.is_brk &&
           (r.allocator.empty() || r.allocator == allocator);
  }

  /// Pages in memory that may be an allocator's: of the largest regions that are nobody's yet.
  std::span<const std::uintptr_t> probes() noexcept {
    return pages_.find(residency_, regions_, in_memory_,
                       [](const Region& r) { return is_candidate(r, r.allocator); });
  }

  /// What its map or books describe is the allocator's, also if it has the form of a chunk of glibc's.
  template <class IsIts>
  void mark(std::string_view allocator, IsIts is_its) noexcept {
    for (Region& r : regions_) {
      const bool is_chunk = r.allocator == report::kGlibcMalloc && !r.is_arena;
      if (is_candidate(r, is_chunk ? r.allocator : allocator) && any_page(residency_, r, kLookedAt, is_its))
        r.allocator = allocator;
    }
  }

  static constexpr std::size_t kLookedAt = 256;  ///< pages of a region

  Arena& arena_;
  report::Memory& memory_;
  const ProcessMemory& process_;
  const elf::Modules& modules_;
  std::span<Region> regions_;
  const report::Residency& residency_;
  const report::InMemory* in_memory_;
  ProbedPages pages_;
  char unasked_[32] = "", unasked_version_[sizeof inside::CarriedAllocator::version] = "";
  const elf::Module* unasked_in_ = nullptr;
};

void claim_heaps(Arena& arena, report::Memory* memory) noexcept {
  g_backend = backends::Backend{};
  g_heap_count = 0;
  g_arena = &arena;
  g_jemalloc = {};
  g_mimalloc = {};
  g_tcmalloc = {};
  g_musl = MuslHeap{};
  Claims(arena, memory).run();
}

}  // namespace

report::Served served_of_other_process() noexcept {
  g_backend = backends::Backend{};
  report::Served served;
  served.backend = &g_backend;
  served.why_off = why_nothing_is_recorded;
  served.claim_heaps = claim_heaps;
  served.beside = is_beside_libc() ? &g_beside : nullptr;
  return served;
}

}  // namespace mallard::outside
