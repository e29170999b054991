// SPDX-License-Identifier: Apache-2.0
#include "elf/auxiliary_vector.hpp"

#include <elf.h>
#include <sys/auxv.h>

namespace mallard::elf {

std::uint64_t auxiliary_value(const ProcessMemory& process, std::uint64_t type) noexcept {
  if (process.is_own()) return getauxval(type);
  Elf64_auxv_t entries[64];
  const long bytes = process.read_file("auxv", reinterpret_cast<char*>(entries), sizeof entries);
  for (long i = 0; i < bytes / static_cast<long>(sizeof *entries); ++i)
    if (entries[i].a_type == type) return entries[i].a_un.a_val;
  return 0;
}

}  // namespace mallard::elf
