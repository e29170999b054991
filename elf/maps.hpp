// SPDX-License-Identifier: Apache-2.0
// /proc/self/maps, line by line, and a list that grows in the report's arena. Context: reporter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"

namespace mallard::report {

/// One line. `path` lives in the arena.
struct Mapping {
  std::uintptr_t begin, end;
  std::uint64_t offset, device, inode;  ///< device as stat gives it
  std::string_view path;                ///< unescaped, without " (deleted)"; empty = anonymous
  bool readable, writable, executable, shared, deleted;
};

/// Calls `take` with each line of a file, without its end; a line beyond 64 KiB is cut.
/// \return false if the file cannot be read to its end or memory is out
bool for_each_line(Arena& arena, const char* path, void (*take)(std::string_view line, void* opaque) noexcept,
                   void* opaque) noexcept;

/// Calls `take` with each mapping, in address order. Lines that are no mapping are left out; a path that is
/// longer than any path can be is cut. \return false if the file cannot be read to its end or memory is out
bool for_each_mapping(Arena& arena, const char* maps_path,
                      void (*take)(const Mapping& mapping, void* opaque) noexcept, void* opaque) noexcept;

/// An array of trivial objects that doubles; what it leaves behind goes with the arena.
template <class T>
class Growing {
 public:
  explicit Growing(Arena& arena) noexcept : arena_(arena) {}

  bool add(const T& value) noexcept {
    if (size_ == capacity_ && !grow()) return false;
    items_[size_++] = value;
    return true;
  }

  T& operator[](std::size_t i) noexcept { return items_[i]; }
  std::size_t size() const noexcept { return size_; }
  std::span<T> all() noexcept { return {items_, size_}; }
  bool out_of_memory() const noexcept { return out_of_memory_; }

 private:
  bool grow() noexcept {
    const std::size_t bigger = capacity_ ? capacity_ * 2 : 32;
    T* items = arena_.array<T>(bigger);
    if (!items) {
      out_of_memory_ = true;
      return false;
    }
    for (std::size_t i = 0; i < size_; ++i) items[i] = items_[i];
    items_ = items;
    capacity_ = bigger;
    return true;
  }

  Arena& arena_;
  T* items_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
  bool out_of_memory_ = false;
};

}  // namespace mallard::report
