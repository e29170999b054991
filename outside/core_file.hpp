// SPDX-License-Identifier: Apache-2.0
// A process as its core file has it, behind the seam of base/process_memory.hpp. What the kernel would show
// of it in /proc (maps, pagemap, status, auxv, cmdline) is written to files without a name from what the core
// tells, so that a report reads the one like the other. Nothing in a core file is trusted. Context: offline.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "elf/image.hpp"
#include "outside/lost_blocks.hpp"

namespace mallard::outside {

class CoreFile : public ProcessMemory {
 public:
  CoreFile() noexcept;
  ~CoreFile();

  /// Reads the headers and which pages there are. \param fd  a regular file, which stays the caller's
  /// \return nullptr, or a clause that says why it cannot be done
  const char* open(int fd) noexcept;
  /// Where files of the process are looked for. \param executable  empty: where the core says it was
  /// \param sysroot  a folder that stands for "/"; empty: "/" itself
  /// \return 0, or the errno with which one of them cannot be opened; `*which` says which
  int find_files(const char* executable, const char* sysroot, const char** which) noexcept;
  /// After find_files(): closes the executable if it is not the one that ran, or nobody can tell.
  /// \return nullptr, or a clause: why it is not used
  const char* drop_other_executable() noexcept;

  std::string_view executable() const noexcept { return executable_; }  ///< as the core says; or empty
  bool has_executable() const noexcept { return files_[kExe] >= 0; }    ///< and find_files() has found it
  std::uint64_t missing_bytes() const noexcept { return missing_; }     ///< cut off at the end of the file
  std::uint64_t left_out_bytes() const noexcept { return left_out_; }   ///< mapped, and not in the core

  /// The threads' registers; see Threads::each.
  void each_thread(void (*visit)(const ThreadState& thread, void* opaque), void* opaque,
                   report::LostBlocks* out) const noexcept;

 private:
  static const Access kAccess;
  enum File : std::uint8_t { kMaps, kPagemap, kStatus, kAuxv, kCmdline, kExe, kRoot, kFiles };
  struct Load {
    std::uintptr_t begin, end;
    std::uint64_t offset, bytes;  ///< in the file
    std::uint32_t flags;
  };
  struct MappedFile {
    std::uintptr_t begin, end;
    std::uint64_t offset;  ///< in the file
    std::string_view path;
    bool is_shared;
  };
  struct ThreadNote {
    std::uint64_t general, wide, wide_bytes;  ///< where in the core
  };

  bool read_at(std::uint64_t offset, void* to, std::size_t bytes) const noexcept;
  const char* read_headers() noexcept;
  const char* read_notes(std::uint64_t at, std::uint64_t bytes) noexcept;
  const char* take_note(std::uint32_t type, std::uint64_t at, std::uint64_t bytes) noexcept;
  const char* take_mapped_files(std::uint64_t at, std::uint64_t bytes) noexcept;
  const Load* load_of(std::uintptr_t at) const noexcept;
  const MappedFile* mapped_file(std::uintptr_t at) const noexcept;
  const MappedFile* first_of(const MappedFile& file) const noexcept;
  std::uintptr_t begin_of_file_behind(std::uintptr_t at) const noexcept;
  std::string_view name_of(const Load& load) const noexcept;
  bool copy_from_file(void* to, std::uintptr_t from, std::size_t bytes) const noexcept;
  int file_of(const MappedFile& mapped) const noexcept;
  bool copy_here(void* to, std::uintptr_t from, std::size_t bytes) const noexcept;
  bool write_pagemap() noexcept;
  bool write_pages(const Load& load) noexcept;
  bool write_maps() noexcept;
  bool write_facts() noexcept;
  void find_break() noexcept;
  bool add_unloaded_files() noexcept;
  std::uint32_t rights_of(const MappedFile& file) noexcept;
  std::uint64_t auxiliary(std::uint64_t type) const noexcept;

  Arena arena_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  int files_[kFiles];
  std::span<Load> loads_;
  std::span<MappedFile> mapped_;
  ThreadNote* threads_ = nullptr;
  std::size_t thread_count_ = 0, thread_room_ = 0, notes_ = 0;
  std::span<const std::uint64_t> auxv_;
  std::string_view executable_;
  char name_[32] = "", arguments_[128] = "";
  int pid_ = 0, parent_ = 0;
  /// Files of the process that were asked for; `fd` -1: there is none with the same build-id.
  struct OpenFile {
    std::string_view path;
    int fd;
  };
  static constexpr std::size_t kMostOpen = 512;
  mutable OpenFile open_[kMostOpen];
  mutable std::size_t open_count_ = 0;
  std::uintptr_t break_begin_ = 0;
  const MappedFile* headers_of_ = nullptr;  ///< whose ELF headers `headers_` has
  elf::Image headers_;
  std::uint64_t anonymous_ = 0, of_files_ = 0, shared_ = 0;  ///< bytes of pages that the core has
  std::uint64_t missing_ = 0, left_out_ = 0;
};

}  // namespace mallard::outside
