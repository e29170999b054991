// SPDX-License-Identifier: Apache-2.0
#include "outside/served_heap.hpp"

#include "heaps/glibc.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/mimalloc.hpp"
#include "heaps/tcmalloc.hpp"
#include "inside/recognise.hpp"
#include "outside/probed_pages.hpp"
#include "report/facts/beside.hpp"
#include "report/facts/roles.hpp"

namespace mallard::outside {
namespace {

constinit backends::Backend g_backend{};
constinit const backends::Backend* g_beside = nullptr;  ///< nullptr: all is served by that
constinit std::uintptr_t g_at = 0;  ///< in the object that holds the allocator
constinit heaps::JemallocAccess g_jemalloc{};
constinit heaps::MimallocAccess g_mimalloc{};
constinit heaps::TcmallocFound g_tcmalloc{};

constexpr std::string_view kGlibc = "glibc ";

heaps::CensusResult census_of_jemalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::jemalloc_census(g_jemalloc, request);
}
heaps::CensusResult census_of_mimalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::mimalloc_census(g_mimalloc, request);
}
heaps::CensusResult census_of_tcmalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::tcmalloc_census(g_tcmalloc, request);
}

/// Takes the version of a glibc that serves. \return false if its heap is not known
bool is_known_glibc(const backends::Backend& glibc) noexcept {
  FixedText<64> version;
  version.add(part_of(view_of(glibc.version), kGlibc.size()));
  return view_of(glibc.name) == "system" && heaps::set_glibc_version(version.c_str());
}

bool is(std::string_view name) noexcept { return view_of(g_backend.name) == name; }

/// One that mallard asks for its version only when it is in use.
void find_version(const elf::Module& module, const ProcessMemory& process) noexcept {
  if (view_of(g_backend.version) != "unknown") return;
  for (const inside::CarriedAllocator& c : inside::contents_of(module, process).all())
    if (c.allocator->name == view_of(g_backend.name) && c.version[0] != '\0') {
      TextBuffer to(g_backend.version, sizeof g_backend.version);
      to.clear();
      to.add(view_of(c.version));
    }
}

}  // namespace

heaps::CensusResult census_of_no_layout(const heaps::CensusRequest&) noexcept {
  return {.done = false, .why_not = "how its heap is laid out was not found out from outside"};
}

bool can_be_divided(const backends::Backend& theirs) noexcept {
  const std::string_view name = view_of(theirs.name);
  return !theirs.census || name == "system" || name == "jemalloc" || name == "mimalloc" ||
         name == "tcmalloc";
}

backends::Backend* serve_from(const backends::Backend& theirs, const report::Served& served) noexcept {
  g_backend = theirs;
  // What runs there cannot be called here.
  g_backend.functions = {};
  g_backend.extras = {};
  g_backend.statistics = nullptr;
  g_backend.ask_version = nullptr;
  g_backend.object = nullptr;
  g_backend.purge.run = nullptr;
  g_backend.purge.call = g_backend.purge.leaves = g_backend.purge.holds = nullptr;
  g_backend.census = theirs.census ? census_of_no_layout : nullptr;
  g_beside = served.beside;
  g_at = served.backend_at ? served.backend_at : served.own_at;
  return &g_backend;
}

namespace {

void find_layout(Arena& arena, report::Memory* memory) noexcept {
  const ProcessMemory& process = *memory->process;
  const elf::Module* const module = report::module_at(memory->regions.modules, g_at);
  if (module) find_version(*module, process);
  if (!g_backend.census || !memory->known) return;
  if (is("system")) {
    if (is_known_glibc(g_backend)) g_backend.census = heaps::census_glibc;
    return;
  }
  const report::InMemory* const in_memory =
      report::measure_regions(arena, memory->regions.all, memory->residency.runs());
  if (!module || !in_memory) return;
  ProbedPages probed;
  const bool has_break = is("tcmalloc");
  const std::span<const std::uintptr_t> pages =
      probed.find(memory->residency, memory->regions.all, in_memory, [has_break](const report::Region& r) {
        return r.owner == report::Owner::kHeap && r.readable && r.writable && (!r.is_brk || has_break);
      });
  const AddressRange data{module->data_begin, module->span_end};
  if (is("jemalloc")) {
    g_jemalloc = {};
    g_jemalloc.data = data;
    g_jemalloc.map = heaps::find_jemalloc_map(process, data, pages);
    if (g_jemalloc.map.root != 0) g_backend.census = census_of_jemalloc;
  } else if (is("mimalloc")) {
    g_mimalloc = {};
    g_mimalloc.data = data;
    g_mimalloc.layout = heaps::find_mimalloc_layout(process, data, pages);
    if (g_mimalloc.layout.shape) g_backend.census = census_of_mimalloc;
  } else if (is("tcmalloc") && heaps::find_tcmalloc(process, data, pages, &g_tcmalloc)) {
    g_backend.census = census_of_tcmalloc;
  }
}

}  // namespace

void claim_served_heap(Arena& arena, report::Memory* memory) noexcept {
  if (g_backend.census) g_backend.census = census_of_no_layout;
  find_layout(arena, memory);
  if (g_beside && is_known_glibc(*g_beside))
    g_backend.census = report::claim_beside(arena, g_backend.census, heaps::census_glibc, memory);
}

}  // namespace mallard::outside
