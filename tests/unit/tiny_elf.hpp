// SPDX-License-Identifier: Apache-2.0
// A minimal ELF file with symbols, written by hand.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

/// An x86-64 executable with one code section [0x1000, 0x2000) and the given symbols.
struct TinyElf {
  struct Entry {
    std::string name;
    std::uint64_t value, size;
    int binding = STB_GLOBAL, type = STT_FUNC;
    std::uint16_t section = 1;
  };
  std::vector<unsigned char> bytes;

  explicit TinyElf(const std::vector<Entry>& entries, std::uint32_t table_type = SHT_SYMTAB) {
    std::string strings(1, '\0');
    std::vector<Elf64_Sym> table(1);
    for (const Entry& e : entries) {
      Elf64_Sym s{};
      s.st_name = static_cast<Elf64_Word>(strings.size());
      s.st_info = static_cast<unsigned char>(ELF64_ST_INFO(e.binding, e.type));
      s.st_shndx = e.section;
      s.st_value = e.value;
      s.st_size = e.size;
      table.push_back(s);
      strings += e.name + '\0';
    }
    Elf64_Ehdr h{};
    std::memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    h.e_type = ET_DYN;
    h.e_machine = EM_X86_64;
    h.e_phoff = sizeof h;
    h.e_phentsize = sizeof(Elf64_Phdr);
    h.e_phnum = 1;
    h.e_shentsize = sizeof(Elf64_Shdr);
    h.e_shnum = 5;
    Elf64_Phdr p{};
    p.p_type = PT_LOAD;
    p.p_flags = PF_R | PF_X;
    p.p_memsz = p.p_filesz = 0x3000;
    Elf64_Shdr s[5] = {};
    for (int i : {1, 2}) {
      s[i].sh_type = SHT_PROGBITS;
      s[i].sh_flags = SHF_ALLOC | SHF_EXECINSTR;
      s[i].sh_addr = 0x1000u * static_cast<unsigned>(i);
      s[i].sh_size = 0x1000;
    }
    const std::size_t table_at = sizeof h + sizeof p, strings_at = table_at + table.size() * sizeof table[0];
    s[3].sh_type = table_type;
    s[3].sh_offset = table_at;
    s[3].sh_size = table.size() * sizeof table[0];
    s[3].sh_entsize = sizeof table[0];
    s[3].sh_link = 4;
    s[4].sh_type = SHT_STRTAB;
    s[4].sh_offset = strings_at;
    s[4].sh_size = strings.size();
    h.e_shoff = strings_at + strings.size();
    append(&h, sizeof h);
    append(&p, sizeof p);
    append(table.data(), table.size() * sizeof table[0]);
    append(strings.data(), strings.size());
    append(s, sizeof s);
  }

  void append(const void* p, std::size_t n) {
    const auto* b = static_cast<const unsigned char*>(p);
    bytes.insert(bytes.end(), b, b + n);
  }
};
