// SPDX-License-Identifier: Apache-2.0
#include "elf/program_file.hpp"

#include "arch/elf.hpp"

namespace mallard::elf {

bool ProgramFile::read_table(std::uint32_t type, Table* to) noexcept {
  SymbolTable table;
  if (!image_.find_symbols(type, &table)) return true;
  auto* symbols = table.is_whole ? arena_.array<Elf64_Sym>(table.count) : nullptr;
  to->names = image_.read_names(table, arena_);
  if (!symbols || to->names.empty() ||
      !image_.read(table.symbols_at, symbols, table.count * sizeof(Elf64_Sym)))
    return false;
  to->symbols = symbols;
  to->count = table.count;
  return true;
}

bool ProgramFile::read(int fd, const char** why) noexcept {
  const Fault fault = image_.use_file(fd) ? image_.parse() : Fault::kNoProgram;
  bool has_sections = false;
  image_.for_each_section([&](std::uint64_t, const Elf64_Shdr&) noexcept { has_sections = true; });
  *why = fault == Fault::kNoProgram ? "its file is not a program for " MALLARD_MACHINE
         : fault == Fault::kDamaged ? "its file is damaged"
         : !has_sections            ? "its file has no section headers, and so no names of functions"
                                    : "its symbol tables cannot be read";
  return fault == Fault::kNone && has_sections && read_table(SHT_SYMTAB, &tables_[0]) &&
         read_table(SHT_DYNSYM, &tables_[1]);
}

}  // namespace mallard::elf
