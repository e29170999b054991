// SPDX-License-Identifier: Apache-2.0
// Which allocator mapped what nobody serves: the one in the object that called mmap.
#include "inside/recognise.hpp"
#include "elf/modules.hpp"
#include "report/facts/regions.hpp"
#include "symbols/elf_symbols.hpp"

namespace mallard::report {

void recognise_allocators(Arena& arena, Regions* regions) noexcept {
  const elf::Modules& modules = regions->modules;
  const auto inside_of = [&](const Region& r) -> const inside::Contents* {
    if (r.owner != Owner::kAnonymous || r.mapper == 0 || !r.allocator.empty()) return nullptr;
    const int module = modules.find(r.mapper - 1);
    return module >= 0 ? &inside::contents_of(modules.all()[static_cast<std::size_t>(module)]) : nullptr;
  };
  std::size_t unsure = 0;
  for (Region& r : regions->all) {
    const inside::Contents* inside = inside_of(r);
    if (inside && inside->count == 1) r.allocator = inside->carried[0].allocator->name;
    else if (inside && inside->count > 1) ++unsure;
  }
  if (unsure == 0) return;
  // The function tells which of two allocators in one object it was.
  symbols::Symbol* symbols = arena.array<symbols::Symbol>(unsure);
  if (!symbols) return;
  std::size_t n = 0;
  for (const Region& r : regions->all)
    if (const inside::Contents* inside = inside_of(r); inside && inside->count > 1 && n < unsure)
      symbols[n++] = {r.mapper, -1, 0, {}, 0};
  const std::span<const symbols::Symbol> named = symbols::symbolize(arena, modules, {symbols, n});
  for (Region& r : regions->all) {
    const inside::Contents* inside = inside_of(r);
    const symbols::Symbol* symbol =
        inside && inside->count > 1 ? symbols::find_symbol_of(named, r.mapper) : nullptr;
    const inside::KnownAllocator* owner = symbol ? inside->owner_of(symbol->name) : nullptr;
    if (owner) r.allocator = owner->name;
  }
}

}  // namespace mallard::report
