// SPDX-License-Identifier: Apache-2.0
// /proc/PID/maps: the parser of a line, for everybody who reads such a file, and the reader of a whole file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/arena.hpp"

namespace mallard::elf {

struct Mapping {
  std::uintptr_t begin, end;
  std::uint64_t offset, device, inode;  ///< device as stat gives it
  std::string_view path;                ///< without " (deleted)"; empty = anonymous
  bool readable, writable, executable, shared, deleted;
};

/// Parses one line, given without its newline. The path is the part of `line` that holds it, in which the
/// kernel writes a newline as \012: see unescape_path(). \return nothing if the line is no mapping
/// \context hot
std::optional<Mapping> parse_mapping(std::string_view line) noexcept;

/// Writes the real path, which is never longer than what the line holds. \param to  room for path.size()
/// bytes \return the length of the real path
std::size_t unescape_path(std::string_view path, char* to) noexcept;

/// Calls `visit` with each mapping of a file such as /proc/self/maps, in address order; paths are real, and
/// live in the arena. Lines that are no mapping are left out; a path that is longer than any path can be is
/// cut. \return false if the file cannot be read to its end or memory is out \context reporter
bool for_each_mapping(Arena& arena, const char* maps_path,
                      void (*visit)(const Mapping& mapping, void* opaque) noexcept, void* opaque) noexcept;

}  // namespace mallard::elf
