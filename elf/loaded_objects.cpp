// SPDX-License-Identifier: Apache-2.0
// Tables are read in place: elf::Image copies them by the kernel, which the start of a program under a
// seccomp filter cannot rely on, and the loader has believed them already.
#include "elf/loaded_objects.hpp"

#include <elf.h>
#include <sys/auxv.h>

#include <algorithm>

#include "base/text.hpp"
#include "elf/mapped_segments.hpp"

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

namespace mallard::elf {

DynamicTables dynamic_tables(const link_map* object) noexcept {
  DynamicTables t;
  std::size_t relocation_bytes = 0, plt_relocation_bytes = 0;
  for (const ElfW(Dyn)* d = object->l_ld; d && d->d_tag != DT_NULL; ++d) {
    ElfW(Addr) at = d->d_un.d_ptr;
    if (at < object->l_addr) at += object->l_addr;  // the loader relocates these, but not the vDSO's
    const auto point = [at]<typename T>(const T*& to) noexcept { to = reinterpret_cast<const T*>(at); };
    if (d->d_tag == DT_STRTAB) point(t.strings);
    else if (d->d_tag == DT_SYMTAB) point(t.symbols);
    else if (d->d_tag == DT_GNU_HASH) point(t.gnu_hash);
    else if (d->d_tag == DT_HASH) point(t.sysv_hash);
    else if (d->d_tag == DT_VERSYM) point(t.versions);
    else if (d->d_tag == DT_RELA) point(t.relocations);
    else if (d->d_tag == DT_JMPREL) point(t.plt_relocations);
    else if (d->d_tag == DT_RELASZ) relocation_bytes = d->d_un.d_val;
    else if (d->d_tag == DT_PLTRELSZ) plt_relocation_bytes = d->d_un.d_val;
  }
  if (t.relocations) t.relocation_count = relocation_bytes / sizeof *t.relocations;
  if (t.plt_relocations) t.plt_relocation_count = plt_relocation_bytes / sizeof *t.plt_relocations;
  return t;
}

namespace {

bool defines(const DynamicTables& t, std::uint32_t index, std::string_view name) noexcept {
  const ElfW(Sym)& s = t.symbols[index];
  constexpr std::uint16_t kHiddenVersion = 0x8000;
  return s.st_shndx != SHN_UNDEF && s.st_value != 0 &&
         !(t.versions && (t.versions[index] & kHiddenVersion)) && view_of(t.strings + s.st_name) == name;
}

/// The GNU hash table: header, Bloom filter, buckets, chains (System V ABI, GNU extension).
const ElfW(Sym) * find_gnu(const DynamicTables& t, std::string_view name) noexcept {
  std::uint32_t hash = 5381;
  for (char c : name) hash = hash * 33 + static_cast<unsigned char>(c);
  const std::uint32_t bucket_count = t.gnu_hash[0], first_hashed = t.gnu_hash[1];
  const std::uint32_t bloom_words = t.gnu_hash[2], bloom_shift = t.gnu_hash[3];
  if (bucket_count == 0 || bloom_words == 0) return nullptr;
  const auto* bloom = reinterpret_cast<const ElfW(Addr)*>(t.gnu_hash + 4);
  const auto* buckets = reinterpret_cast<const std::uint32_t*>(bloom + bloom_words);
  const std::uint32_t* chains = buckets + bucket_count;
  const ElfW(Addr) word = bloom[(hash / 64) % bloom_words];
  if (!((word >> (hash % 64)) & (word >> ((hash >> bloom_shift) % 64)) & 1)) return nullptr;
  std::uint32_t i = buckets[hash % bucket_count];
  if (i < first_hashed) return nullptr;
  for (;; ++i) {
    const std::uint32_t chained = chains[i - first_hashed];
    if ((chained | 1) == (hash | 1) && defines(t, i, name)) return &t.symbols[i];
    if (chained & 1) return nullptr;
  }
}

const ElfW(Sym) * find_sysv(const DynamicTables& t, std::string_view name) noexcept {
  const std::uint32_t count = t.sysv_hash[1];
  for (std::uint32_t i = 1; i < count; ++i)
    if (defines(t, i, name)) return &t.symbols[i];
  return nullptr;
}

}  // namespace

void* find_symbol(const link_map* object, const char* name) noexcept {
  if (!object) return nullptr;
  const DynamicTables t = dynamic_tables(object);
  if (!t.strings || !t.symbols) return nullptr;
  const ElfW(Sym)* s = t.gnu_hash    ? find_gnu(t, view_of(name))
                       : t.sysv_hash ? find_sysv(t, view_of(name))
                                     : nullptr;
  if (!s) return nullptr;
  auto* address = reinterpret_cast<void*>(object->l_addr + s->st_value);
  if (ELF64_ST_TYPE(s->st_info) == STT_GNU_IFUNC) address = reinterpret_cast<void* (*)()>(address)();
  return address;
}

link_map* find_definer(link_map* first, const char* name) noexcept {
  for (link_map* object = first; object; object = object->l_next)
    if (find_symbol(object, name)) return object;
  return nullptr;
}

bool imports(const link_map* object, const char* name) noexcept {
  if (!object) return false;
  const DynamicTables t = dynamic_tables(object);
  if (!t.strings || !t.symbols) return false;
  const auto refers = [&](const ElfW(Rela) & r) noexcept {
    const std::size_t index = ELF64_R_SYM(r.r_info);
    return index != 0 && t.symbols[index].st_shndx == SHN_UNDEF &&
           view_of(t.strings + t.symbols[index].st_name) == view_of(name);
  };
  return std::any_of(t.plt_relocations, t.plt_relocations + t.plt_relocation_count, refers) ||
         std::any_of(t.relocations, t.relocations + t.relocation_count, refers);
}

void run_constructors(const link_map* object, int argc, char** argv, char** environment) noexcept {
  using Constructor = void (*)(int, char**, char**);
  const Constructor* constructors = nullptr;
  std::size_t bytes = 0;
  for (const ElfW(Dyn)* d = object ? object->l_ld : nullptr; d && d->d_tag != DT_NULL; ++d) {
    const ElfW(Addr) at = object->l_addr + d->d_un.d_ptr;  // of these the loader relocates none
    if (d->d_tag == DT_INIT) reinterpret_cast<Constructor>(at)(argc, argv, environment);
    else if (d->d_tag == DT_INIT_ARRAY) constructors = reinterpret_cast<const Constructor*>(at);
    else if (d->d_tag == DT_INIT_ARRAYSZ) bytes = d->d_un.d_val;
  }
  for (std::size_t i = 0; constructors && i < bytes / sizeof *constructors; ++i)
    constructors[i](argc, argv, environment);
}

link_map* first_object() noexcept { return _r_debug.r_map; }

link_map* own_object() noexcept {
  for (link_map* object = first_object(); object; object = object->l_next)
    if (object->l_addr == address_of(__ehdr_start)) return object;
  return nullptr;
}

link_map* find_next_definer(const char* name) noexcept {
  const link_map* own = own_object();
  return own ? find_definer(own->l_next, name) : nullptr;
}

link_map* libc_object() noexcept { return find_definer(first_object(), "gnu_get_libc_version"); }

namespace {

bool range_of(const link_map* object, ElfW(Word) flag, std::uintptr_t* begin, std::uintptr_t* end) noexcept {
  std::span<const ElfW(Phdr)> segments;
  if (object == first_object())  // its load bias may be 0
    segments = {reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR)), getauxval(AT_PHNUM)};
  else segments = mapped_segments(object->l_addr);
  *begin = ~std::uintptr_t{0};
  *end = 0;
  for (const ElfW(Phdr) & s : segments) {
    if (s.p_type != PT_LOAD || !(s.p_flags & flag)) continue;
    const std::uintptr_t from = object->l_addr + s.p_vaddr;
    if (from < *begin) *begin = from;
    if (from + s.p_memsz > *end) *end = from + s.p_memsz;
  }
  return *end != 0;
}

}  // namespace

bool text_range(const link_map* object, std::uintptr_t* begin, std::uintptr_t* end) noexcept {
  return range_of(object, PF_X, begin, end);
}

bool data_range(const link_map* object, std::uintptr_t* begin, std::uintptr_t* end) noexcept {
  return range_of(object, PF_W, begin, end);
}

}  // namespace mallard::elf
