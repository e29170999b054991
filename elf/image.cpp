// SPDX-License-Identifier: Apache-2.0
#include "elf/image.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/os.hpp"

namespace mallard::elf {
namespace {

constexpr unsigned kMaxSegments = 256;
constexpr std::uint64_t kMaxSections = 1u << 20;
constexpr std::size_t kMaxNoteBytes = 4096;
constexpr std::size_t kMaxBuildIdBytes = 64;

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

/// Lowest page of the loaded object, from which memory images count.
std::uint64_t first_page(const Header& header) noexcept {
  std::uint64_t lowest = ~std::uint64_t{0};
  for (const Elf64_Phdr& s : header.segments)
    if (s.p_type == PT_LOAD && s.p_vaddr < lowest) lowest = s.p_vaddr;
  return lowest & ~std::uint64_t{kPageBytes - 1};
}

}  // namespace

void Image::use_memory(const void* at, std::size_t bytes) noexcept {
  close();
  source_ = Source::kMemory;
  at_ = address_of(at);
  size_ = bytes;
}

void Image::use_vanishing_memory(std::uintptr_t at, std::size_t bytes) noexcept {
  close();
  source_ = Source::kVanishing;
  at_ = at;
  size_ = bytes;
}

bool Image::open(const char* path) noexcept {
  close();
  // O_NONBLOCK: the path may meanwhile be a FIFO, which must not hold the reporter up.
  const long fd = os::open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat facts {};
  if (os::call(SYS_fstat, fd, os::arg(&facts)) != 0 || !S_ISREG(facts.st_mode)) {
    os::close(static_cast<int>(fd));
    return false;
  }
  source_ = Source::kFile;
  fd_ = static_cast<int>(fd);
  size_ = static_cast<std::uint64_t>(facts.st_size);
  device_ = facts.st_dev;
  inode_ = facts.st_ino;
  return true;
}

void Image::close() noexcept {
  if (fd_ >= 0) os::close(fd_);
  fd_ = -1;
  source_ = Source::kNone;
  size_ = device_ = inode_ = 0;
}

bool Image::read(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
  return read_some(offset, to, bytes) == bytes;
}

std::size_t Image::read_some(std::uint64_t offset, void* to, std::size_t bytes) const noexcept {
  if (offset >= size_) return 0;
  if (bytes > size_ - offset) bytes = static_cast<std::size_t>(size_ - offset);
  switch (source_) {
    case Source::kNone:
      return 0;
    case Source::kMemory:
      __builtin_memcpy(to, reinterpret_cast<const void*>(at_ + offset), bytes);
      return bytes;
    case Source::kVanishing:
      return os::copy_if_readable(to, at_ + offset, bytes) ? bytes : 0;
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

bool read_header(const Image& image, Arena& arena, Header* out) noexcept {
  Elf64_Ehdr& h = out->raw;
  if (!image.read(0, &h, sizeof h) || __builtin_memcmp(h.e_ident, ELFMAG, SELFMAG) != 0) return false;
  if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB) return false;
  if (h.e_machine != EM_X86_64 || (h.e_type != ET_EXEC && h.e_type != ET_DYN)) return false;
  if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0 || h.e_phnum > kMaxSegments) return false;
  auto* segments = arena.array<Elf64_Phdr>(h.e_phnum);
  if (!segments || !image.read(h.e_phoff, segments, h.e_phnum * sizeof(Elf64_Phdr))) return false;
  out->segments = {segments, h.e_phnum};
  return true;
}

std::span<const Elf64_Shdr> read_sections(const Image& image, const Header& header, Arena& arena) noexcept {
  const Elf64_Ehdr& h = header.raw;
  if (h.e_shoff == 0 || h.e_shentsize != sizeof(Elf64_Shdr)) return {};
  std::uint64_t count = h.e_shnum;
  if (count == 0) {  // more than 65279 sections: the number stands in the first
    Elf64_Shdr first;
    if (!image.read(h.e_shoff, &first, sizeof first)) return {};
    count = first.sh_size;
  }
  // Checked before memory is taken: a damaged count must not ask for gigabytes.
  if (count == 0 || count > kMaxSections || h.e_shoff > image.size() ||
      count * sizeof(Elf64_Shdr) > image.size() - h.e_shoff)
    return {};
  auto* sections = arena.array<Elf64_Shdr>(count);
  if (!sections || !image.read(h.e_shoff, sections, count * sizeof(Elf64_Shdr))) return {};
  return {sections, static_cast<std::size_t>(count)};
}

std::string_view read_build_id(const Image& image, const Header& header, bool in_memory,
                               Arena& arena) noexcept {
  alignas(8) unsigned char notes[kMaxNoteBytes];
  for (const Elf64_Phdr& s : header.segments) {
    if (s.p_type != PT_NOTE) continue;
    const std::uint64_t at = in_memory ? s.p_vaddr - first_page(header) : s.p_offset;
    const std::size_t bytes = s.p_filesz < sizeof notes ? s.p_filesz : sizeof notes;
    if (!image.read(at, notes, bytes)) continue;
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
