// SPDX-License-Identifier: Apache-2.0
// Symbol lookup in one loaded object, without the loader: no lock, no malloc, no fall-through to the
// object's dependencies (dlsym has all three, and a mixed set of allocator functions corrupts the heap).
#pragma once

#include <link.h>

#include "base/attributes.hpp"

namespace mallard::elf {

/// The tables that a loaded object's dynamic section points to; null where there is none.
struct DynamicTables {
  const char* strings = nullptr;
  const ElfW(Sym) * symbols = nullptr;
  const std::uint32_t *gnu_hash = nullptr, *sysv_hash = nullptr;
  const std::uint16_t* versions = nullptr;
  const ElfW(Rela) * relocations = nullptr, *plt_relocations = nullptr;
  std::size_t relocation_count = 0, plt_relocation_count = 0;
};
DynamicTables dynamic_tables(const link_map* object) noexcept;

/// Address of the default version of `name` defined in `object`, IFUNCs resolved; nullptr if there is none.
/// \context init, reporter: the object must stay loaded
void* find_symbol(const link_map* object, const char* name) noexcept;

/// First object of the link map, from `first` on, that defines `name`; nullptr if none does.
link_map* find_definer(link_map* first, const char* name) noexcept;

/// First object behind libmallard.so that defines `name`, which a call would reach without mallard; nullptr
/// if none does, or where libmallard.so is not found.
link_map* find_next_definer(const char* name) noexcept;

/// Calls the constructors of `object` (DT_INIT, then DT_INIT_ARRAY), which may have run or run again later.
/// \context init
void run_constructors(const link_map* object, int argc, char** argv, char** environment) noexcept;

link_map* first_object() noexcept;  ///< the executable
link_map* own_object() noexcept;    ///< libmallard.so
link_map* libc_object() noexcept;   ///< the object that defines gnu_get_libc_version

/// True if `object` calls or refers to a function `name` that it does not define itself.
bool imports(const link_map* object, const char* name) noexcept;

/// Executable addresses of `object`, from its program headers in memory. \return false if unreadable
bool text_range(const link_map* object, std::uintptr_t* begin, std::uintptr_t* end) noexcept;
/// Writable addresses of `object`, its .bss included. \return false if unreadable
bool data_range(const link_map* object, std::uintptr_t* begin, std::uintptr_t* end) noexcept;

template <typename Function>
Function* find_function(const link_map* object, const char* name) noexcept {
  return reinterpret_cast<Function*>(find_symbol(object, name));
}

}  // namespace mallard::elf
