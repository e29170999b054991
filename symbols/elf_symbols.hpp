// SPDX-License-Identifier: Apache-2.0
// Function names for return addresses, from the ELF symbol tables of the loaded objects: one pass over each
// object's symbols, whatever the number of addresses. Sizes are respected: an address that no function covers
// has no name, rather than its neighbour's. Context: reporter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"
#include "elf/image.hpp"
#include "elf/modules.hpp"

namespace mallard::symbols {

/// One return address, and what is known of it. The call stands before it, so names are looked up at pc - 1.
struct Symbol {
  std::uintptr_t pc;      ///< in
  int module;             ///< index into elf::Modules::all(); -1 = in no executable memory (unloaded)
  std::uint64_t address;  ///< pc in the terms of the ELF file; pc itself without a module
  std::string_view name;  ///< as in the symbol table (mangled), in the arena; empty = unknown
  std::uint64_t offset;   ///< pc - start of the function
};

/// Sorts `symbols` by pc, drops doubles and fills the rest in; opens each object's file once.
/// Names stay empty where an object has none, cannot be opened, is damaged, or memory is out.
/// \return the first part of `symbols`, which holds the distinct ones
std::span<Symbol> symbolize(Arena& arena, const elf::Modules& modules, std::span<Symbol> symbols) noexcept;

/// The entry of `pc` in what symbolize returned, or nullptr.
const Symbol* find_symbol_of(std::span<const Symbol> symbols, std::uintptr_t pc) noexcept;

/// Names the symbols of one object: those in `symbols`, which are sorted by pc, at `pc - load_bias - 1`.
void name_symbols(Arena& arena, elf::Image& image, std::uintptr_t load_bias,
                  std::span<Symbol> symbols) noexcept;

}  // namespace mallard::symbols
