// SPDX-License-Identifier: Apache-2.0
// Whether any code of the executable has run before us (IFUNC resolvers, an audit library that calls malloc):
// its variables tell. An allocator cannot hand out a block without remembering it.
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

#include "arch/elf.hpp"
#include "arch/thread.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/take_over.hpp"

namespace mallard::inside {
namespace {

constexpr std::uintptr_t kPage = kPageBytes;

bool is_zero(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (const char* p = reinterpret_cast<const char*>(begin); address_of(p) < end; ++p)
    if (*p != 0) return false;
  return true;
}

/// The variables that the loader itself writes into .bss: copies of those that libraries define.
class CopiedVariables {
 public:
  explicit CopiedVariables(const link_map* object) noexcept
      : base_(object->l_addr), tables_(elf::dynamic_tables(object)) {}

  /// \return the end of the copied variable at `address`, or 0
  std::uintptr_t end_of_variable_at(std::uintptr_t address) const noexcept {
    if (!tables_.symbols) return 0;
    for (std::size_t i = 0; i < tables_.relocation_count; ++i) {
      const ElfW(Rela)& r = tables_.relocations[i];
      if (ELF64_R_TYPE(r.r_info) != arch::kCopyRelocation) continue;
      const std::uintptr_t begin = base_ + r.r_offset;
      const std::uintptr_t end = begin + tables_.symbols[ELF64_R_SYM(r.r_info)].st_size;
      if (address >= begin && address < end) return end;
    }
    return 0;
  }

 private:
  std::uintptr_t base_;
  elf::DynamicTables tables_;
};

/// Pages that were never touched are left so.
bool is_untouched_page(std::uintptr_t page) noexcept {
  unsigned char resident = 1;
  return os::pages_present(page, 1, &resident) && !(resident & 1);
}

bool is_bss_unused(const CopiedVariables& copies, std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (std::uintptr_t at = begin; at < end;) {
    const std::uintptr_t page = at & ~(kPage - 1), page_end = page + kPage < end ? page + kPage : end;
    if (at == page && is_untouched_page(page)) {
      at = page_end;
      continue;
    }
    if (is_zero(at, page_end)) {
      at = page_end;
      continue;
    }
    for (; at < page_end; ++at) {
      if (*reinterpret_cast<const char*>(at) == 0) continue;
      const std::uintptr_t copied = copies.end_of_variable_at(at);
      if (!copied) return false;
      at = copied - 1;
    }
  }
  return true;
}

/// The executable's thread-local variables of this thread, as glibc places them right below the thread
/// pointer. \return false if they differ from what the loader initialises them with
bool is_tls_unused(const ElfW(Phdr) & tls, std::uintptr_t base) noexcept {
  if (tls.p_memsz == 0) return true;
  const std::uintptr_t alignment = tls.p_align ? tls.p_align : 1;
  const std::uintptr_t first = (0 - tls.p_vaddr) & (alignment - 1);
  const std::uintptr_t offset = align_up(tls.p_memsz - (first < tls.p_memsz ? first : 0), alignment) +
                                (first < tls.p_memsz ? first : 0);
  const std::uintptr_t block = arch::thread_pointer() - offset;
  return memcmp(reinterpret_cast<const void*>(block), reinterpret_cast<const void*>(base + tls.p_vaddr),
                tls.p_filesz) == 0 &&
         is_zero(block + tls.p_filesz, block + tls.p_memsz);
}

}  // namespace

bool has_not_run(const char** why) noexcept {
  const link_map* program = elf::first_object();
  const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR));
  const std::size_t count = getauxval(AT_PHNUM);
  *why = "its program headers cannot be read";
  if (!segments) return false;
  const CopiedVariables copies(program);
  *why = "it has been used already: memory that it handed out could not be told from mallard's";
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Phdr)& s = segments[i];
    if (s.p_type == PT_TLS && !is_tls_unused(s, program->l_addr)) return false;
    if (s.p_type != PT_LOAD || !(s.p_flags & PF_W) || s.p_memsz <= s.p_filesz) continue;
    const std::uintptr_t begin = program->l_addr + s.p_vaddr;
    if (!is_bss_unused(copies, begin + s.p_filesz, begin + s.p_memsz)) return false;
  }
  return true;
}

}  // namespace mallard::inside
