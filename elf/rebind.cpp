// SPDX-License-Identifier: Apache-2.0
#include "elf/rebind.hpp"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <span>

#include "arch/elf.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/mapped_segments.hpp"

namespace mallard::elf {
namespace {

struct Pages {
  std::uintptr_t begin = 0, end = 0;
};

/// What the loader has made read-only after it had filled the slots.
Pages read_only_after_relocation(const link_map* object) noexcept {
  std::span<const ElfW(Phdr)> segments;
  if (object == first_object())  // its load bias may be 0
    segments = {reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR)), getauxval(AT_PHNUM)};
  else segments = mapped_segments(object->l_addr);
  for (const ElfW(Phdr) & s : segments)
    if (s.p_type == PT_GNU_RELRO) {
      const std::uintptr_t begin = object->l_addr + s.p_vaddr;
      return {begin & ~(kPageBytes - 1), (begin + s.p_memsz) & ~(kPageBytes - 1)};
    }
  return {};
}

bool write_slot(std::uintptr_t slot, const void* to, const Pages& read_only) noexcept {
  auto* page = reinterpret_cast<void*>(slot & ~(kPageBytes - 1));
  const bool is_closed = slot >= read_only.begin && slot < read_only.end;
  if (is_closed && !os::protect(page, kPageBytes, PROT_READ | PROT_WRITE)) return false;
  memcpy(reinterpret_cast<void*>(slot), &to, sizeof to);
  if (is_closed) os::protect(page, kPageBytes, PROT_READ);
  return true;
}

}  // namespace

std::size_t rebind(const link_map* object, const Rebinding* list, std::size_t count) noexcept {
  const DynamicTables t = dynamic_tables(object);
  if (!t.strings || !t.symbols) return 0;
  const Pages read_only = read_only_after_relocation(object);
  std::size_t refused = 0;
  const auto look_at = [&](const ElfW(Rela) & r) noexcept {
    const auto type = static_cast<std::uint32_t>(ELF64_R_TYPE(r.r_info));
    const std::size_t index = ELF64_R_SYM(r.r_info);
    if (index == 0 || t.symbols[index].st_shndx != SHN_UNDEF || !arch::is_address_relocation(type)) return;
    const char* name = t.strings + t.symbols[index].st_name;
    for (std::size_t i = 0; i < count; ++i) {
      if (name[0] != list[i].name[0] || strcmp(name, list[i].name) != 0) continue;
      const std::uintptr_t slot = object->l_addr + r.r_offset;
      const void* now = nullptr;
      memcpy(&now, reinterpret_cast<const void*>(slot), sizeof now);
      // A jump's slot may still lead to the stub of its first call.
      const bool is_bound_there = now == list[i].from || arch::is_jump_relocation(type);
      if (is_bound_there && !write_slot(slot, list[i].to, read_only)) ++refused;
    }
  };
  for (std::size_t i = 0; i < t.plt_relocation_count; ++i) look_at(t.plt_relocations[i]);
  for (std::size_t i = 0; i < t.relocation_count; ++i) look_at(t.relocations[i]);
  return refused;
}

}  // namespace mallard::elf
