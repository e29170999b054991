// SPDX-License-Identifier: Apache-2.0
#include "outside/heaps_found.hpp"

#include "backends/backend.hpp"
#include "heaps/glibc.hpp"
#include "outside/glibc.hpp"

namespace mallard::outside {
namespace {

using report::Owner;
using report::Region;

constinit backends::Backend g_backend{};

const char* why_nothing_is_recorded() noexcept { return "looked at from outside; no call site is known"; }

heaps::CensusResult census_of_what_cannot_be_read(const heaps::CensusRequest&) noexcept {
  return {.done = false, .why_not = "the kernel does not let this command read the memory of the process"};
}

void set_text(char* to, std::size_t bytes, std::string_view text) noexcept {
  TextBuffer(to, bytes).add(text);
}

void set_server(std::string_view name, std::string_view version, const elf::Module* module) noexcept {
  set_text(g_backend.name, sizeof g_backend.name, name);
  set_text(g_backend.version, sizeof g_backend.version, version);
  if (module) set_text(g_backend.path, sizeof g_backend.path, module->path);
}

/// Makes all regions of an allocator the heap. \return false if there are none
bool claim(std::span<Region> regions, std::string_view allocator) noexcept {
  bool any = false;
  for (Region& r : regions) {
    if (r.owner != Owner::kAnonymous || r.allocator != allocator) continue;
    r.owner = Owner::kHeap;
    any = true;
  }
  return any;
}

void claim_break(std::span<Region> regions) noexcept {
  for (Region& r : regions)
    if (r.owner == Owner::kAnonymous && r.is_brk) r.owner = Owner::kHeap;
}

bool can_be_read(const report::Memory& memory) noexcept {
  for (const report::ResidentRun& run : memory.residency.runs()) {
    char byte;
    if (memory.process->get(run.begin, &byte)) return true;
  }
  return false;
}

void claim_heaps(Arena&, report::Memory* memory) noexcept {
  g_backend = {};
  const std::span<Region> regions = memory->regions.all;
  FixedText<32> version;
  const elf::Module* glibc = find_glibc(memory->regions.modules, version);
  FixedText<64> words;
  words.add("glibc ").add(version.view());
  if (!can_be_read(*memory)) {
    claim_break(regions);
    g_backend.census = census_of_what_cannot_be_read;
    if (glibc) set_server("system", words.view(), glibc);
    else set_server("unknown", "", nullptr);
  } else if (claim(regions, report::kGlibcMalloc)) {
    // A program that is linked statically does not tell: it is taken for one of the last years.
    heaps::set_glibc_version(glibc ? version.c_str() : "2.41");
    set_server("system", glibc ? words.view() : "glibc, linked statically", glibc);
    g_backend.census = heaps::census_glibc;
  } else if (const elf::Module* musl = find_musl(memory->regions.modules)) {
    claim_break(regions);
    set_server("musl", "unknown", musl);
  } else {
    set_server("none", "", nullptr);
  }
}

}  // namespace

report::Served served_of_other_process() noexcept {
  g_backend = {};
  report::Served served;
  served.backend = &g_backend;
  served.why_off = why_nothing_is_recorded;
  served.claim_heaps = claim_heaps;
  return served;
}

}  // namespace mallard::outside
