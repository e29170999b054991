// SPDX-License-Identifier: Apache-2.0
// An executable's file: segments, functions by name, code. Read by raw system calls, so that it can be done
// before main; nothing in the file is trusted.
#pragma once

#include <elf.h>

#include <string_view>

#include "base/attributes.hpp"
#include "base/text.hpp"

namespace mallard::elf {

class ProgramFile {
 public:
  ProgramFile() noexcept = default;
  ~ProgramFile();
  ProgramFile(const ProgramFile&) = delete;
  ProgramFile& operator=(const ProgramFile&) = delete;

  /// \param fd   stays the caller's, and open as long as this object
  /// \param why  set to a clause if it fails
  /// \return false unless the file is an x86-64 program or library whose symbol tables can be read
  bool read(int fd, const char** why) noexcept;

  bool has_symbol_table() const noexcept { return tables_[0].symbols != nullptr; }
  const Elf64_Phdr* segments() const noexcept { return segments_; }
  std::size_t segment_count() const noexcept { return segment_count_; }

  /// Copies bytes by the addresses that the file gives them. \return false unless all are in the file
  bool copy(std::uint64_t address, void* to, std::size_t bytes) const noexcept;
  /// True if all of these addresses are in one executable segment.
  bool is_code(std::uint64_t address, std::size_t bytes) const noexcept;
  bool copy_at_offset(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;

  /// Calls visit(name, symbol, is_dynamic) for each function that the file defines, until it returns false.
  template <typename Visit>
  void for_each_function(Visit visit) const noexcept {
    for (int t = 0; t < 2; ++t) {
      const Table& table = tables_[t];
      for (std::size_t i = 1; i < table.count; ++i) {
        const Elf64_Sym& s = table.symbols[i];
        const int type = ELF64_ST_TYPE(s.st_info);
        if (s.st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC)) continue;
        if (s.st_name >= table.name_bytes) continue;
        if (!visit(view_of(table.names + s.st_name), s, t == 1)) return;
      }
    }
  }

 private:
  struct Table {
    Elf64_Sym* symbols;
    char* names;  ///< NUL-terminated
    std::size_t count, name_bytes;
  };
  bool read_table(const Elf64_Shdr* sections, std::size_t section_count, const Elf64_Shdr& section,
                  Table* to) noexcept;

  static constexpr std::size_t kMaxSegments = 64;
  int fd_ = -1;
  Table tables_[2] = {};  ///< the full symbol table, the dynamic one
  Elf64_Phdr segments_[kMaxSegments];
  std::size_t segment_count_ = 0;
};

}  // namespace mallard::elf
