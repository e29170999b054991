// SPDX-License-Identifier: Apache-2.0
// The program headers of an object of this process that stays loaded, read in place. What the loader itself reads is
// trusted, and a stack is unwound where the kernel may refuse the copies that elf::Image makes.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstring>
#include <span>

#include "base/attributes.hpp"

namespace mallard::elf {

/// \param begin  the object's first page, where linkers put the ELF header
/// \return empty if there is no ELF header, or its program headers are not on that page \context hot
inline std::span<const ElfW(Phdr)> mapped_segments(std::uintptr_t begin) noexcept {
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(begin);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_phentsize != sizeof(ElfW(Phdr)) ||
      header->e_phoff > kPageBytes || header->e_phnum > (kPageBytes - header->e_phoff) / sizeof(ElfW(Phdr)))
    return {};
  return {reinterpret_cast<const ElfW(Phdr)*>(begin + header->e_phoff), header->e_phnum};
}

}  // namespace mallard::elf
