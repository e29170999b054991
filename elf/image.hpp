// SPDX-License-Identifier: Apache-2.0
// The one reader of ELF objects: from a file, from memory, or from another process, behind one bounds-checked
// read. Nothing in an object is trusted. Files are read, not mapped: a mapping would add to the very RSS that a
// report is about, and a file that shrinks would be fatal. Nothing is allocated except where an arena is given.
// Context: init, reporter, offline.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"
#include "base/process_memory.hpp"

namespace mallard::elf {

/// Copies memory of a process. \return false unless all bytes could be read
using CopyMemory = bool (*)(void* opaque, void* to, std::uintptr_t from, std::size_t bytes) noexcept;

/// How the parts of an object lie in its image: by their offsets in the file, or by their addresses, counted
/// from the first page.
enum class Form : std::uint8_t { kFile, kLoaded };

enum class Fault : std::uint8_t {
  kNone,
  kNoProgram,  ///< no executable or shared object of this architecture
  kDamaged,    ///< its program headers are not all there
};

/// A symbol table of an image. What its headers promise beyond the end of the image is left out.
struct SymbolTable {
  std::uint64_t symbols_at, count;
  std::uint64_t names_at, names_bytes;
  bool is_whole;  ///< all of it is there
};

/// The entries of a dynamic section that are used here. Addresses are those of the object's file; 0 = none.
struct Dynamic {
  bool is_present, is_symbolic, is_pie;
  std::uint64_t strings, string_bytes, symbols, gnu_hash, sysv_hash;
  std::uint64_t relocations, relocation_bytes, plt_relocations, plt_relocation_bytes;
};

class Image {
 public:
  static constexpr std::size_t kMaxSegments = 64;

  Image() = default;
  ~Image() { close(); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  /// Takes `bytes` of memory that stay there as long as this object.
  void use_memory(const void* at, std::size_t bytes, Form form = Form::kFile) noexcept;
  /// Takes an object that some process has loaded, from its first page on: each read is a copy.
  void use_loaded(std::uintptr_t begin, CopyMemory copy, void* opaque) noexcept;
  /// Takes an object that `process` has loaded, and may unload at any time: each read is a copy.
  void use_process(const ProcessMemory& process, std::uintptr_t begin) noexcept;
  /// Takes `bytes` of its memory that are laid out as a file.
  void use_process(const ProcessMemory& process, std::uintptr_t begin, std::size_t bytes) noexcept;
  /// Opens a regular file. \return false if it is none or cannot be opened
  bool open(const char* path) noexcept;
  /// Takes a regular file that stays open as long as this object, and stays the caller's.
  bool use_file(int fd) noexcept;
  void close() noexcept;

  /// Copies bytes of the image. \return false unless all of them exist
  bool read(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;
  /// Copies up to `bytes`; stops at the end of the image. \return how many were copied
  std::size_t read_some(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;
  bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return offset <= size_ && bytes <= size_ - offset;
  }

  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t device() const noexcept { return device_; }  ///< of a file, as in /proc/self/maps
  std::uint64_t inode() const noexcept { return inode_; }

  /// Reads header and program headers, on which all below depends.
  Fault parse() noexcept;
  const Elf64_Ehdr& header() const noexcept { return header_; }
  std::span<const Elf64_Phdr> segments() const noexcept { return {segments_, segment_count_}; }

  /// The difference between addresses of a loaded object and those of its file; call parse() first. 0 for a
  /// file.
  std::uintptr_t load_bias() const noexcept;
  /// Turns an address, as the object's file counts it, into an offset in this image.
  /// \return false unless one segment has all `bytes` there
  bool find_offset(std::uint64_t address, std::uint64_t bytes, std::uint64_t* offset) const noexcept;
  bool read_address(std::uint64_t address, void* to, std::size_t bytes) const noexcept;
  /// True if all of these addresses are in one executable segment.
  bool is_code(std::uint64_t address, std::size_t bytes) const noexcept;

  /// Calls visit(index, header) for each section header that is there.
  template <typename Visit>
  void for_each_section(Visit visit) const noexcept {
    const std::uint64_t count = section_count();
    Elf64_Shdr s;
    for (std::uint64_t i = 0; i < count && read(header_.e_shoff + i * sizeof s, &s, sizeof s); ++i) visit(i, s);
  }
  /// Section headers, in the arena; empty if there are none or they do not lie within the image.
  std::span<const Elf64_Shdr> read_sections(Arena& arena) const noexcept;

  /// Calls visit(entry) for each entry of the dynamic section. \return false if there is none that can be read
  template <typename Visit>
  bool for_each_dynamic(Visit visit) const noexcept {
    for (const Elf64_Phdr& p : segments()) {
      if (p.p_type != PT_DYNAMIC) continue;
      const std::uint64_t at = place_of(p);
      Elf64_Dyn d;
      for (std::uint64_t i = 0; i < p.p_filesz / sizeof d && i < kMaxDynamic; ++i) {
        if (!read(at + i * sizeof d, &d, sizeof d)) return i > 0;
        if (d.d_tag == DT_NULL) break;
        visit(d);
      }
      return true;
    }
    return false;
  }
  Dynamic read_dynamic() const noexcept;

  /// Finds the full symbol table (SHT_SYMTAB) or the dynamic one (SHT_DYNSYM), which is also found without
  /// section headers. \return false if there is none
  bool find_symbols(std::uint32_t type, SymbolTable* table) const noexcept;
  /// Calls visit(symbol) for each symbol, as many as there are.
  template <typename Visit>
  void for_each_symbol(const SymbolTable& table, Visit visit) const noexcept {
    Elf64_Sym some[kSymbolsAtOnce];
    for (std::uint64_t i = 0; i < table.count;) {
      const std::uint64_t left = table.count - i;
      const std::size_t wanted = left < kSymbolsAtOnce ? static_cast<std::size_t>(left) : kSymbolsAtOnce;
      const std::size_t got =
          read_some(table.symbols_at + i * sizeof *some, some, wanted * sizeof *some) / sizeof *some;
      for (std::size_t n = 0; n < got; ++n) visit(some[n]);
      if (got < wanted) return;
      i += got;
    }
  }
  /// All names of a table, in the arena, with a NUL behind them; empty if they cannot be read.
  std::string_view read_names(const SymbolTable& table, Arena& arena) const noexcept;

  /// The build-id in hex, from the note segments; empty if there is none.
  std::string_view read_build_id(Arena& arena) const noexcept;

 private:
  enum class Source : std::uint8_t { kNone, kMemory, kCopied, kFile };
  static constexpr std::size_t kSymbolsAtOnce = 128, kMaxDynamic = 65536;

  std::uint64_t section_count() const noexcept;
  std::uint64_t first_page() const noexcept;
  /// The offset at which the bytes of a segment begin in this image.
  std::uint64_t place_of(const Elf64_Phdr& p) const noexcept {
    return form_ == Form::kFile ? p.p_offset : p.p_vaddr - first_page();
  }
  SymbolTable table_within(std::uint64_t symbols_at, std::uint64_t bytes, std::uint64_t names_at,
                           std::uint64_t name_bytes) const noexcept;
  std::uint64_t count_symbols(const Dynamic& dynamic) const noexcept;

  Source source_ = Source::kNone;
  Form form_ = Form::kFile;
  bool owns_fd_ = false;
  int fd_ = -1;
  std::uintptr_t at_ = 0;
  CopyMemory copy_ = nullptr;
  void* opaque_ = nullptr;
  std::uint64_t size_ = 0, device_ = 0, inode_ = 0;
  Elf64_Ehdr header_{};
  std::size_t segment_count_ = 0;
  Elf64_Phdr segments_[kMaxSegments];
};

}  // namespace mallard::elf
