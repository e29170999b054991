// SPDX-License-Identifier: Apache-2.0
#include "elf/image.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "arch/elf.hpp"
#include "base/os.hpp"

namespace mallard::elf {
namespace {

constexpr std::uint64_t kMaxSections = 1u << 20;
constexpr std::uint64_t kMaxTableBytes = 1u << 30;
constexpr std::uint32_t kMaxHashSteps = 1u << 20;  // a damaged table may be endless
constexpr std::size_t kMaxNoteBytes = 4096;
constexpr std::size_t kMaxBuildIdBytes = 64;

bool copy_of(void* process, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
  return static_cast<const ProcessMemory*>(process)->copy(to, from, bytes);
}

/// The build-id within one note segment; notes are aligned to 4 or 8 bytes.
std::span<const unsigned char> find_build_id(std::span<const unsigned char> notes,
                                             std::size_t align) noexcept {
  std::size_t at = 0;
  while (notes.size() - at >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note;
    __builtin_memcpy(&note, notes.data() + at, sizeof note);
    const std::size_t name = at + sizeof note;
    const std::size_t content = align_up(name + note.n_namesz, align);
    const std::size_t end = content + note.n_descsz;  // all far below 2^64: the sizes have 32 bits
    if (end > notes.size()) return {};
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        __builtin_memcmp(notes.data() + name, "GNU", 4) == 0)
      return notes.subspan(content, note.n_descsz);
    at = align_up(end, align);
    if (at > notes.size()) return {};
  }
  return {};
}

}  // namespace

void Image::use_memory(const void* at, std::size_t bytes, Form form) noexcept {
  close();
  source_ = Source::kMemory;
  form_ = form;
  at_ = address_of(at);
  size_ = bytes;
}

void Image::use_loaded(std::uintptr_t begin, CopyMemory copy, void* opaque) noexcept {
  close();
  source_ = Source::kCopied;
  form_ = Form::kLoaded;
  at_ = begin;
  copy_ = copy;
  opaque_ = opaque;
  size_ = ~begin;  // up to the end of the address space: what is not there is not copied
}

void Image::use_process(const ProcessMemory& process, std::uintptr_t begin) noexcept {
  use_loaded(begin, copy_of, const_cast<ProcessMemory*>(&process));
}

void Image::use_process(const ProcessMemory& process, std::uintptr_t begin, std::size_t bytes) noexcept {
  use_process(process, begin);
  form_ = Form::kFile;
  size_ = bytes;
}

bool Image::open(const char* path) noexcept {
  close();
  // O_NONBLOCK: the path may meanwhile be a FIFO, which must not hold the reporter up.
  const long fd = os::open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return false;
  if (!use_file(static_cast<int>(fd))) {
    os::close(static_cast<int>(fd));
    return false;
  }
  owns_fd_ = true;
  return true;
}

bool Image::use_file(int fd) noexcept {
  close();
  struct stat facts {};
  if (os::call(SYS_fstat, fd, os::arg(&facts)) != 0 || !S_ISREG(facts.st_mode)) return false;
  source_ = Source::kFile;
  form_ = Form::kFile;
  fd_ = fd;
  size_ = static_cast<std::uint64_t>(facts.st_size);
  device_ = facts.st_dev;
  inode_ = facts.st_ino;
  return true;
}

void Image::close() noexcept {
  if (owns_fd_) os::close(fd_);
  owns_fd_ = false;
  fd_ = -1;
  source_ = Source::kNone;
  size_ = device_ = inode_ = 0;
  header_ = {};
  segment_count_ = 0;
}

bool Image::read(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
  return read_some(offset, to, bytes) == bytes;
}

std::size_t Image::read_some(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
  if (offset >= size_) return 0;
  bytes = std::min<std::uint64_t>(bytes, size_ - offset);
  switch (source_) {
    case Source::kNone:
      return 0;
    case Source::kMemory:
      __builtin_memcpy(to, reinterpret_cast<const void*>(at_ + offset), bytes);
      return bytes;
    case Source::kCopied:
      return copy_(opaque_, to, at_ + offset, bytes) ? bytes : 0;
    case Source::kFile:
      break;
  }
  std::size_t have = 0;
  while (have < bytes) {
    const long r = os::pread(fd_, static_cast<char*>(to) + have, bytes - have, offset + have);
    if (r <= 0) break;
    have += static_cast<std::size_t>(r);
  }
  return have;
}

Fault Image::parse() noexcept {
  Elf64_Ehdr& h = header_;
  segment_count_ = 0;
  if (!read(0, &h, sizeof h) || __builtin_memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
      h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != arch::kMachine ||
      (h.e_type != ET_EXEC && h.e_type != ET_DYN))
    return Fault::kNoProgram;
  if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0 || h.e_phnum > kMaxSegments ||
      !read(h.e_phoff, segments_, h.e_phnum * sizeof(Elf64_Phdr)))
    return Fault::kDamaged;
  segment_count_ = h.e_phnum;
  return Fault::kNone;
}

std::uint64_t Image::first_page() const noexcept {
  std::uint64_t lowest = ~std::uint64_t{0};
  for (const Elf64_Phdr& s : segments())
    if (s.p_type == PT_LOAD) lowest = std::min(lowest, s.p_vaddr);
  return lowest & ~std::uint64_t{kPageBytes - 1};
}

std::uintptr_t Image::load_bias() const noexcept { return form_ == Form::kFile ? 0 : at_ - first_page(); }

bool Image::find_offset(std::uint64_t address, std::uint64_t bytes, std::uint64_t* offset) const noexcept {
  for (const Elf64_Phdr& s : segments()) {
    const std::uint64_t there = form_ == Form::kFile ? s.p_filesz : s.p_memsz;
    if (s.p_type != PT_LOAD || address < s.p_vaddr || address - s.p_vaddr >= there) continue;
    *offset = place_of(s) + (address - s.p_vaddr);
    return bytes <= there - (address - s.p_vaddr);
  }
  return false;
}

bool Image::read_address(std::uint64_t address, void* to, std::size_t bytes) const noexcept {
  std::uint64_t offset;
  return find_offset(address, bytes, &offset) && read(offset, to, bytes);
}

bool Image::is_code(std::uint64_t address, std::size_t bytes) const noexcept {
  return std::any_of(segments_, segments_ + segment_count_, [=](const Elf64_Phdr& s) noexcept {
    return s.p_type == PT_LOAD && (s.p_flags & PF_X) && address >= s.p_vaddr &&
           address - s.p_vaddr < s.p_filesz && bytes <= s.p_filesz - (address - s.p_vaddr);
  });
}

std::uint64_t Image::section_count() const noexcept {
  if (form_ == Form::kLoaded || header_.e_shoff == 0 || header_.e_shentsize != sizeof(Elf64_Shdr)) return 0;
  std::uint64_t count = header_.e_shnum;
  Elf64_Shdr first;
  if (count == 0 && read(header_.e_shoff, &first, sizeof first))
    count = first.sh_size;  // more than 65279 sections: the number stands in the first
  // Checked before memory is taken: a damaged count must not ask for gigabytes.
  return count <= kMaxSections && holds(header_.e_shoff, count * sizeof(Elf64_Shdr)) ? count : 0;
}

std::span<const Elf64_Shdr> Image::read_sections(Arena& arena) const noexcept {
  const std::uint64_t count = section_count();
  auto* sections = count ? arena.array<Elf64_Shdr>(count) : nullptr;
  if (!sections || !read(header_.e_shoff, sections, count * sizeof(Elf64_Shdr))) return {};
  return {sections, static_cast<std::size_t>(count)};
}

Dynamic Image::read_dynamic() const noexcept {
  Dynamic out{};
  std::uint64_t end = 0;
  for (const Elf64_Phdr& s : segments())
    if (s.p_type == PT_LOAD) end = std::max(end, s.p_vaddr + s.p_memsz);
  const std::uint64_t bias = load_bias();
  // The loader adds the bias to some entries, and not to those of read-only dynamic sections.
  const auto address = [=, this](const Elf64_Dyn& d) noexcept {
    const std::uint64_t value = d.d_un.d_ptr;
    return form_ == Form::kLoaded && value >= at_ && value - bias < end ? value - bias : value;
  };
  out.is_present = for_each_dynamic([&](const Elf64_Dyn& d) noexcept {
    const struct {
      std::int64_t tag;
      std::uint64_t* field;
    } addresses[] = {{DT_STRTAB, &out.strings},     {DT_SYMTAB, &out.symbols},
                     {DT_GNU_HASH, &out.gnu_hash},  {DT_HASH, &out.sysv_hash},
                     {DT_RELA, &out.relocations},   {DT_JMPREL, &out.plt_relocations}},
      sizes[] = {{DT_STRSZ, &out.string_bytes},
                 {DT_RELASZ, &out.relocation_bytes},
                 {DT_PLTRELSZ, &out.plt_relocation_bytes}};
    for (const auto& a : addresses)
      if (a.tag == d.d_tag) *a.field = address(d);
    for (const auto& s : sizes)
      if (s.tag == d.d_tag) *s.field = d.d_un.d_val;
    out.is_symbolic |= d.d_tag == DT_SYMBOLIC || (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_SYMBOLIC));
    out.is_pie |= d.d_tag == DT_FLAGS_1 && (d.d_un.d_val & DF_1_PIE);
  });
  return out;
}

SymbolTable Image::table_within(std::uint64_t symbols_at, std::uint64_t bytes, std::uint64_t names_at,
                                std::uint64_t name_bytes) const noexcept {
  SymbolTable t{symbols_at, 0, names_at, 0, false};
  if (symbols_at <= size_) t.count = std::min(bytes, size_ - symbols_at) / sizeof(Elf64_Sym);
  if (names_at <= size_) t.names_bytes = std::min(name_bytes, size_ - names_at);
  t.is_whole = holds(symbols_at, bytes) && holds(names_at, name_bytes) && name_bytes != 0 &&
               bytes <= kMaxTableBytes && name_bytes <= kMaxTableBytes;
  return t;
}

std::uint64_t Image::count_symbols(const Dynamic& dynamic) const noexcept {
  std::uint32_t head[4];
  if (dynamic.sysv_hash && read_address(dynamic.sysv_hash, head, 2 * sizeof *head)) return head[1];
  if (!dynamic.gnu_hash || !read_address(dynamic.gnu_hash, head, sizeof head)) return 0;
  // The GNU hash table has buckets, which name the first symbol of a chain each, behind a Bloom filter; the last
  // symbol of a chain has an odd hash. The last one of the last chain is the last symbol.
  const std::uint64_t buckets = dynamic.gnu_hash + sizeof head + std::uint64_t{head[2]} * 8;
  const std::uint64_t chains = buckets + std::uint64_t{head[0]} * 4;
  std::uint32_t last = 0, value = 0, steps = kMaxHashSteps;
  for (std::uint32_t i = 0; i < head[0] && --steps && read_address(buckets + std::uint64_t{i} * 4, &value, 4); ++i)
    last = std::max(last, value);
  if (steps == 0) return 0;
  if (last < head[1]) return head[1];
  while (--steps && read_address(chains + std::uint64_t{last - head[1]} * 4, &value, 4) && !(value & 1)) ++last;
  return std::uint64_t{last} + 1;
}

bool Image::find_symbols(std::uint32_t type, SymbolTable* table) const noexcept {
  bool found = false;
  for_each_section([&](std::uint64_t, const Elf64_Shdr& s) noexcept {
    if (found || s.sh_type != type) return;
    found = true;
    Elf64_Shdr names{};
    const bool good = s.sh_entsize == sizeof(Elf64_Sym) && s.sh_link < section_count() &&
                      read(header_.e_shoff + s.sh_link * sizeof names, &names, sizeof names) &&
                      names.sh_type == SHT_STRTAB;
    *table = good ? table_within(s.sh_offset, s.sh_size, names.sh_offset, names.sh_size) : SymbolTable{};
  });
  if (found || type != SHT_DYNSYM) return found;
  const Dynamic d = read_dynamic();
  std::uint64_t symbols_at, names_at;
  if (!d.is_present || !find_offset(d.symbols, 1, &symbols_at) || !find_offset(d.strings, 1, &names_at))
    return false;
  *table = table_within(symbols_at, count_symbols(d) * sizeof(Elf64_Sym), names_at, d.string_bytes);
  return true;
}

std::string_view Image::read_names(const SymbolTable& table, Arena& arena) const noexcept {
  if (table.names_bytes == 0 || table.names_bytes > kMaxTableBytes) return {};
  char* names = arena.array<char>(table.names_bytes + 1);  // zeroed
  if (!names || !read(table.names_at, names, table.names_bytes)) return {};
  return {names, static_cast<std::size_t>(table.names_bytes)};
}

std::string_view Image::read_build_id(Arena& arena) const noexcept {
  alignas(8) unsigned char notes[kMaxNoteBytes];
  for (const Elf64_Phdr& s : segments()) {
    if (s.p_type != PT_NOTE) continue;
    const std::size_t bytes = std::min<std::uint64_t>(s.p_filesz, sizeof notes);
    if (!read(place_of(s), notes, bytes)) continue;
    const auto id = find_build_id({notes, bytes}, s.p_align == 8 ? 8 : 4);
    if (id.empty() || id.size() > kMaxBuildIdBytes) continue;
    char* hex = arena.array<char>(id.size() * 2);
    if (!hex) return {};
    for (std::size_t i = 0; i < id.size(); ++i) {
      hex[2 * i] = "0123456789abcdef"[id[i] >> 4];
      hex[2 * i + 1] = "0123456789abcdef"[id[i] & 15];
    }
    return {hex, id.size() * 2};
  }
  return {};
}

}  // namespace mallard::elf
