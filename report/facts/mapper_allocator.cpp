// SPDX-License-Identifier: Apache-2.0
// Which allocator mapped what nobody serves: the one in the object that called mmap.
#include "elf/modules.hpp"
#include "inside/recognise.hpp"
#include "report/facts/regions.hpp"
#include "symbols/elf_symbols.hpp"

namespace mallard::report {
namespace {

/// Rust's std maps the stack on which it handles overflows of others; it lies in the same object as the
/// allocator. \param symbol  as the symbol table has it
bool maps_a_stack(std::string_view symbol) noexcept {
  return symbol.find("stack_overflow") != std::string_view::npos;
}

}  // namespace

void recognise_allocators(Arena& arena, Regions* regions) noexcept {
  const elf::Modules& modules = regions->modules;
  const auto inside_of = [&](const Region& r) -> const inside::Contents* {
    if (r.owner != Owner::kAnonymous || r.mapper == 0 || !r.allocator.empty()) return nullptr;
    const int module = modules.find(r.mapper - 1);
    return module >= 0
               ? &inside::contents_of(modules.all()[static_cast<std::size_t>(module)], modules.process())
               : nullptr;
  };
  std::size_t unsure = 0;
  for (const Region& r : regions->all)
    if (const inside::Contents* inside = inside_of(r)) unsure += inside->count > 0;
  if (unsure == 0) return;
  // The function tells which of two allocators in one object it was, or none.
  symbols::Symbol* symbols = arena.array<symbols::Symbol>(unsure);
  if (!symbols) return;
  std::size_t n = 0;
  for (const Region& r : regions->all)
    if (const inside::Contents* inside = inside_of(r); inside && inside->count > 0 && n < unsure)
      symbols[n++] = {r.mapper, -1, 0, {}, 0};
  const std::span<const symbols::Symbol> named = symbols::symbolize(arena, modules, {symbols, n});
  for (Region& r : regions->all) {
    const inside::Contents* inside = inside_of(r);
    if (!inside || inside->count == 0) continue;
    const symbols::Symbol* symbol = symbols::find_symbol_of(named, r.mapper);
    if (symbol && maps_a_stack(symbol->name)) {
      r.owner = Owner::kStack;
      r.name = {};
      continue;
    }
    const inside::KnownAllocator* owner = inside->count == 1 ? inside->carried[0].allocator
                                          : symbol           ? inside->owner_of(symbol->name)
                                                             : nullptr;
    if (owner) r.allocator = owner->name;
  }
}

}  // namespace mallard::report
