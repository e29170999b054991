// SPDX-License-Identifier: Apache-2.0
// Bytes of an ELF object, from its file or from memory, behind one bounds-checked read. Nothing in them is
// trusted. Files are read, not mapped: a mapping would add to the very RSS that the report is about, and a
// file that shrinks would be fatal. Context: reporter.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"

namespace mallard::elf {

class Image {
 public:
  Image() = default;
  ~Image() { close(); }
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  /// Takes `bytes` of memory that stay there as long as this object. \context reporter
  void use_memory(const void* at, std::size_t bytes) noexcept;
  /// Takes memory of this process that may vanish at any time: each read is a copy by the kernel.
  void use_vanishing_memory(std::uintptr_t at, std::size_t bytes) noexcept;
  /// Opens a regular file. \return false if it is none or cannot be opened
  bool open(const char* path) noexcept;
  void close() noexcept;

  /// Copies bytes of the object. \return false unless all of them exist
  bool read(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;
  /// Copies up to `bytes`; stops at the end of the object. \return how many were copied
  std::size_t read_some(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;

  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t device() const noexcept { return device_; }  ///< of a file, as in /proc/self/maps
  std::uint64_t inode() const noexcept { return inode_; }

 private:
  enum class Source : std::uint8_t { kNone, kMemory, kVanishing, kFile };

  Source source_ = Source::kNone;
  int fd_ = -1;
  std::uintptr_t at_ = 0;
  std::uint64_t size_ = 0, device_ = 0, inode_ = 0;
};

/// The parts of an ELF header that later reads depend on, checked.
struct Header {
  Elf64_Ehdr raw;
  std::span<const Elf64_Phdr> segments;
};

/// Reads header and program headers. \return false unless it is an x86-64 executable or shared object with
/// segments, whole within the image
bool read_header(const Image& image, Arena& arena, Header* out) noexcept;

/// Section headers, in the arena; empty if there are none or they do not lie within the image.
std::span<const Elf64_Shdr> read_sections(const Image& image, const Header& header, Arena& arena) noexcept;

/// The build-id in hex, from the note segments; empty if there is none.
/// \param in_memory  the image is a loaded object, in which notes stand by virtual address, not file offset
std::string_view read_build_id(const Image& image, const Header& header, bool in_memory,
                               Arena& arena) noexcept;

}  // namespace mallard::elf
