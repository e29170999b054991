// SPDX-License-Identifier: Apache-2.0
#include "elf/program_file.hpp"

#include "base/os.hpp"

namespace mallard::elf {
namespace {

constexpr std::uint64_t kMaxTableBytes = 1u << 30;

/// A piece of the file in memory of its own, with a NUL behind it; nullptr if it is not all there.
void* mapped_copy(const ProgramFile& file, std::uint64_t offset, std::size_t bytes) noexcept {
  void* p = os::map(bytes + 1);
  if (p && !file.copy_at_offset(offset, p, bytes)) {
    os::unmap(p, bytes + 1);
    p = nullptr;
  }
  return p;
}

}  // namespace

ProgramFile::~ProgramFile() {
  for (const Table& t : tables_) {
    if (t.symbols) os::unmap(t.symbols, t.count * sizeof(Elf64_Sym) + 1);
    if (t.names) os::unmap(t.names, t.name_bytes + 1);
  }
}

bool ProgramFile::copy_at_offset(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const long got = os::pread(fd_, at, bytes, offset);
    if (got <= 0) return false;
    at += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

bool ProgramFile::copy(std::uint64_t address, void* to, std::size_t bytes) const noexcept {
  for (std::size_t i = 0; i < segment_count_; ++i) {
    const Elf64_Phdr& s = segments_[i];
    if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz)
      return bytes <= s.p_filesz - (address - s.p_vaddr) &&
             copy_at_offset(s.p_offset + (address - s.p_vaddr), to, bytes);
  }
  return false;
}

bool ProgramFile::is_code(std::uint64_t address, std::size_t bytes) const noexcept {
  for (std::size_t i = 0; i < segment_count_; ++i) {
    const Elf64_Phdr& s = segments_[i];
    if (s.p_type == PT_LOAD && (s.p_flags & PF_X) && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz)
      return bytes <= s.p_filesz - (address - s.p_vaddr);
  }
  return false;
}

bool ProgramFile::read_table(const Elf64_Shdr* sections, std::size_t section_count, const Elf64_Shdr& section,
                             Table* to) noexcept {
  if (section.sh_entsize != sizeof(Elf64_Sym) || section.sh_link >= section_count) return false;
  const Elf64_Shdr& strings = sections[section.sh_link];
  if (section.sh_size > kMaxTableBytes || strings.sh_size > kMaxTableBytes || strings.sh_size == 0)
    return false;
  to->count = section.sh_size / sizeof(Elf64_Sym);
  to->symbols = static_cast<Elf64_Sym*>(mapped_copy(*this, section.sh_offset, to->count * sizeof(Elf64_Sym)));
  to->name_bytes = strings.sh_size;
  to->names = static_cast<char*>(mapped_copy(*this, strings.sh_offset, to->name_bytes));
  return to->symbols && to->names;
}

bool ProgramFile::read(int fd, const char** why) noexcept {
  fd_ = fd;
  Elf64_Ehdr header;
  *why = "its file is not a program for x86-64";
  if (!copy_at_offset(0, &header, sizeof header) || __builtin_memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != EM_X86_64 || (header.e_type != ET_EXEC && header.e_type != ET_DYN))
    return false;
  *why = "its file is damaged";
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > kMaxSegments ||
      !copy_at_offset(header.e_phoff, segments_, header.e_phnum * sizeof(Elf64_Phdr)))
    return false;
  segment_count_ = header.e_phnum;
  *why = "its file has no section headers, and so no names of functions";
  if (header.e_shoff == 0 || header.e_shnum == 0 || header.e_shentsize != sizeof(Elf64_Shdr)) return false;
  *why = "its symbol tables cannot be read";
  const std::size_t bytes = header.e_shnum * sizeof(Elf64_Shdr);
  auto* sections = static_cast<Elf64_Shdr*>(mapped_copy(*this, header.e_shoff, bytes));
  if (!sections) return false;
  bool good = true;
  for (std::size_t i = 0; i < header.e_shnum && good; ++i) {
    const std::uint32_t type = sections[i].sh_type;
    if (type != SHT_SYMTAB && type != SHT_DYNSYM) continue;
    Table* table = &tables_[type == SHT_DYNSYM];
    if (!table->symbols) good = read_table(sections, header.e_shnum, sections[i], table);
  }
  os::unmap(sections, bytes + 1);
  return good;
}

}  // namespace mallard::elf
