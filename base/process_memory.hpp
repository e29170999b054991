// SPDX-License-Identifier: Apache-2.0
// The seam below every census and below page residency: a process whose memory is looked at, mostly while it
// runs on. The library's is its own; the command's is another one (outside/other_process.hpp). Each is a
// class that derives from ProcessMemory and brings its own Access. Context: reporter, offline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "base/attributes.hpp"
#include "base/text.hpp"

namespace mallard {

struct AddressRange {
  std::uintptr_t begin, end;
};

class ProcessMemory {
 public:
  /// The functions that differ from one sort of process to another: a table instead of virtual functions,
  /// which would need libstdc++ in the host.
  struct Access {
    /// Memory that stays mapped may be read where it is: the process is our own.
    bool in_place;
    /// Copies memory that may vanish meanwhile. \return true if all bytes were copied
    bool (*copy)(const ProcessMemory& self, void* to, std::uintptr_t from, std::size_t bytes) noexcept;
    /// Copies `count` pieces (at most os::kMaxPieces) of `bytes` each to consecutive places.
    /// \return pieces copied: those before the first that is not readable
    std::size_t (*copy_pieces)(const ProcessMemory& self, void* to, const std::uintptr_t* from,
                               std::size_t count, std::size_t bytes) noexcept;
    /// Sets bit 0 of `present[i]` if page i from `begin` on is in memory. The kernel counts the page cache
    /// under file mappings, too. \return false if not all of them are mapped, or nobody tells
    bool (*pages_present)(const ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
                          unsigned char* present) noexcept;
    /// Appends the path of what the kernel shows as `name` in the process's folder in /proc.
    void (*add_path)(const ProcessMemory& self, std::string_view name, TextBuffer& to) noexcept;
  };

  /// It is the process that this code runs in, of which mallard knows more than the kernel tells.
  bool is_own() const noexcept { return access_.in_place; }
  /// What mallard recorded of it is at hand: it is our own, or its books have been adopted (base/parts.hpp).
  bool is_recorded() const noexcept { return access_.in_place || books_adopted_; }

  bool copy(void* to, std::uintptr_t from, std::size_t bytes) const noexcept {
    return access_.copy(*this, to, from, bytes);
  }
  /// \return true if all of `to` was copied
  template <class T>
  bool get(std::uintptr_t from, T* to) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    return access_.copy(*this, to, from, sizeof *to);
  }
  std::size_t copy_pieces(void* to, const std::uintptr_t* from, std::size_t count,
                          std::size_t bytes) const noexcept {
    return access_.copy_pieces(*this, to, from, count, bytes);
  }
  /// One aligned word of memory that stays mapped, which other threads may be writing; 0 if it cannot be
  /// read.
  std::uint64_t word(std::uintptr_t at) const noexcept {
    if (access_.in_place)
      return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_RELAXED);
    std::uint64_t value;
    return get(at, &value) ? value : 0;
  }

  bool pages_present(std::uintptr_t begin, std::size_t pages, unsigned char* present) const noexcept {
    return access_.pages_present(*this, begin, pages, present);
  }

  /// The path of a file in /proc: "maps", "smaps", "pagemap", "status" and others.
  class Path : public FixedText<256> {
   public:
    Path(const ProcessMemory& process, std::string_view name) noexcept {
      process.access_.add_path(process, name, *this);
    }
  };
  /// Reads a small file in /proc (at most bytes - 1, then a NUL). \return length or -errno
  long read_file(std::string_view name, char* to, std::size_t bytes) const noexcept;

 protected:
  explicit constexpr ProcessMemory(const Access& access) noexcept : access_(access) {}
  ~ProcessMemory() = default;
  void set_books_adopted() noexcept { books_adopted_ = true; }
  ProcessMemory(const ProcessMemory&) = delete;
  ProcessMemory& operator=(const ProcessMemory&) = delete;

 private:
  const Access& access_;
  bool books_adopted_ = false;
};

/// The process that this code runs in.
const ProcessMemory& own_process() noexcept;

}  // namespace mallard
