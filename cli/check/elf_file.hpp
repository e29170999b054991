// SPDX-License-Identifier: Apache-2.0
// What the command wants to know of an ELF file, read at once through libelf. The file may be hostile: every
// offset and size in it is checked against the file before it is used.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mallard::cli {

/// What kind of file a path names, from its first bytes.
enum class FileKind { kElf, kScript, kOther };

struct ElfFile {
  std::string path;
  bool is_64_bit = false, is_x86_64 = false;
  std::string machine;  ///< for people: "x86-64", "AArch64", "machine 0x1234"
  std::uint16_t type = 0;

  std::string interpreter;  ///< empty = none
  bool has_dynamic = false, is_pie = false, is_symbolic = false;
  std::string soname;
  std::vector<std::string> needed, rpath, runpath;

  /// Names among the interesting ones (allocators.hpp).
  std::set<std::string> exports;  ///< defined, visible to other objects
  std::set<std::string> hidden;   ///< defined, but only in the full symbol table
  std::set<std::string> imports;  ///< undefined, not weak
  bool has_symbol_table = false;  ///< not stripped
  std::string mi_version_code;    ///< first bytes of mi_version(), if it has one
  bool is_go = false;
  std::string go_version;  ///< "go1.22.1"; empty = unknown

  /// Read-only bytes that get loaded, where texts are. Read on demand: libraries are large.
  std::string read_only_bytes() const;

 private:
  friend ElfFile read_elf(const std::string& path, const std::string& shown);
  std::string opened_path_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> read_only_;  ///< file offset, size
};

/// \throws Error if the file cannot be opened or read
FileKind kind_of_file(const std::string& path, const std::string& shown);

/// Reads an ELF file. Of one that is not for 64-bit x86 only the first fields are filled.
/// \param shown  the path that messages name
/// \throws Error if it cannot be read or is damaged
ElfFile read_elf(const std::string& path, const std::string& shown);

/// First line of a script after "#!", without blanks at its ends.
std::string script_line(const std::string& path, const std::string& shown);

}  // namespace mallard::cli
