// SPDX-License-Identifier: Apache-2.0
// An executable's file with all its symbols in memory: functions by name, code. It can be read before main.
#pragma once

#include "base/text.hpp"
#include "elf/image.hpp"

namespace mallard::elf {

class ProgramFile {
 public:
  /// \param fd   stays the caller's, and open as long as this object
  /// \param why  set to a clause if it fails
  /// \return false unless the file is a program or library of this architecture whose symbol tables can be read
  bool read(int fd, const char** why) noexcept;

  const Image& image() const noexcept { return image_; }
  bool has_symbol_table() const noexcept { return tables_[0].symbols != nullptr; }

  /// Calls visit(name, symbol, is_dynamic) for each function that the file defines, until it returns false.
  template <typename Visit>
  void for_each_function(Visit visit) const noexcept {
    for (const Table& table : tables_)
      for (std::size_t i = 1; i < table.count; ++i) {
        const Elf64_Sym& s = table.symbols[i];
        const int type = ELF64_ST_TYPE(s.st_info);
        if (s.st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC)) continue;
        if (s.st_name >= table.names.size()) continue;
        if (!visit(view_of(table.names.data() + s.st_name), s, &table == &tables_[1])) return;
      }
  }

 private:
  struct Table {
    const Elf64_Sym* symbols;
    std::size_t count;
    std::string_view names;  ///< with a NUL behind them
  };
  bool read_table(std::uint32_t type, Table* to) noexcept;

  static constexpr std::size_t kMostMemory = std::size_t{4} << 30;
  Image image_;
  Arena arena_{kMostMemory};
  Table tables_[2] = {};  ///< the full symbol table, the dynamic one
};

}  // namespace mallard::elf
