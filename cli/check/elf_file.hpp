// SPDX-License-Identifier: Apache-2.0
// What `mallard check` wants to know of an ELF file, read at once. The file may be hostile.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "inside/recognise.hpp"

namespace mallard::cli {

/// What kind of file a path names, from its first bytes.
enum class FileKind { kElf, kScript, kOther };

struct ElfFile {
  std::string path;
  bool is_64_bit = false, is_for_this_machine = false;
  std::string machine;  ///< for people: "AArch64", "machine 0x1234"
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
  bool is_go = false;
  std::string go_version;  ///< "go1.22.1"; empty = unknown
  inside::Contents contents{};  ///< the allocators inside
};

/// \throws Error if the file cannot be opened or read
FileKind kind_of_file(const std::string& path, const std::string& shown);

/// Reads an ELF file. Where it is for another machine, only the first fields are filled.
/// \param shown  the path that messages name
/// \throws Error if it cannot be read or is damaged
ElfFile read_elf(const std::string& path, const std::string& shown);

/// The directories of a search path. An empty entry is the working directory, as it is for the loader; an empty path
/// has none.
std::vector<std::string> split_path(std::string_view list, const char* separators = ":");

/// First line of a script after "#!", without blanks at its ends.
std::string script_line(const std::string& path, const std::string& shown);

}  // namespace mallard::cli
