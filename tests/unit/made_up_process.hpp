// SPDX-License-Identifier: Apache-2.0
// A process that does not exist: its memory lies in a table of pages, at addresses where this one has
// nothing.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/process_memory.hpp"

class MadeUpProcess : public mallard::ProcessMemory {
 public:
  /// \param folder  where the files of /proc stand in for those of the kernel
  explicit MadeUpProcess(std::string folder = "/nowhere")
      : ProcessMemory(kAccess), folder_(std::move(folder)) {}

  /// Mallard was in it, and what it recorded is at hand.
  void adopt_books() { set_books_adopted(); }

  /// Makes pages of zeros that are in memory.
  void map(std::uintptr_t begin, std::size_t bytes) {
    for (std::uintptr_t at = begin; at < begin + bytes; at += mallard::kPageBytes)
      pages_[at / mallard::kPageBytes].resize(mallard::kPageBytes);
  }
  /// Makes a page of zeros around `at` unless there is one.
  void map_where_missing(std::uintptr_t at) {
    if (!pages_.count(at / mallard::kPageBytes)) map(at & ~(mallard::kPageBytes - 1), mallard::kPageBytes);
  }
  /// The same with all pages from that around `begin` on.
  void map_whole(std::uintptr_t begin, std::size_t bytes) {
    for (std::uintptr_t at = begin; at < begin + bytes; at += mallard::kPageBytes) map_where_missing(at);
  }
  /// The same where nothing has been mapped yet.
  void map_once(std::uintptr_t begin, std::size_t bytes) {
    if (!pages_.count(begin / mallard::kPageBytes)) map(begin, bytes);
  }
  /// Leaves the page mapped, but not in memory: who reads it is found out.
  void swap_out(std::uintptr_t page) { swapped_out_.insert(page / mallard::kPageBytes); }

  void write(std::uintptr_t at, const void* from, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i)
      pages_.at((at + i) / mallard::kPageBytes)[(at + i) % mallard::kPageBytes] =
          static_cast<const unsigned char*>(from)[i];
  }
  template <class T>
  void put(std::uintptr_t at, const T& value) {
    write(at, &value, sizeof value);
  }

  /// All pages in memory, neighbours joined.
  std::vector<mallard::AddressRange> resident() const {
    std::vector<mallard::AddressRange> ranges;
    for (const auto& [page, bytes] : pages_) {
      if (swapped_out_.count(page)) continue;
      const std::uintptr_t begin = page * mallard::kPageBytes;
      if (ranges.empty() || ranges.back().end != begin) ranges.push_back({begin, begin});
      ranges.back().end = begin + mallard::kPageBytes;
    }
    return ranges;
  }

  mutable int reads_of_swapped_out = 0;
  mutable std::size_t copies = 0;
  mutable std::size_t pages_asked = 0;  ///< whether they are in memory

 private:
  std::string folder_;
  std::map<std::uintptr_t, std::vector<unsigned char>> pages_;
  std::set<std::uintptr_t> swapped_out_;

  bool copy_here(void* to, std::uintptr_t from, std::size_t bytes) const {
    ++copies;
    for (std::size_t done = 0, step; done < bytes; done += step) {
      const auto page = pages_.find((from + done) / mallard::kPageBytes);
      if (page == pages_.end()) return false;
      const std::size_t at = (from + done) % mallard::kPageBytes;
      step = std::min(bytes - done, mallard::kPageBytes - at);
      reads_of_swapped_out += swapped_out_.count(page->first) != 0;
      std::memcpy(static_cast<unsigned char*>(to) + done, page->second.data() + at, step);
    }
    return true;
  }

  static const MadeUpProcess& of(const ProcessMemory& self) {
    return static_cast<const MadeUpProcess&>(self);
  }
  static constexpr Access kAccess = {
      .in_place = false,
      .copy = [](const ProcessMemory& self, void* to, std::uintptr_t from,
                 std::size_t bytes) noexcept { return of(self).copy_here(to, from, bytes); },
      .copy_pieces =
          [](const ProcessMemory& self, void* to, const std::uintptr_t* from, std::size_t count,
             std::size_t bytes) noexcept {
            std::size_t n = 0;
            while (n < count && of(self).copy_here(static_cast<char*>(to) + n * bytes, from[n], bytes)) ++n;
            return n;
          },
      .pages_present =
          [](const ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
             unsigned char* present) noexcept {
            of(self).pages_asked += pages;
            for (std::size_t i = 0; i < pages; ++i) {
              const std::uintptr_t page = begin / mallard::kPageBytes + i;
              if (!of(self).pages_.count(page)) return false;
              present[i] = !of(self).swapped_out_.count(page);
            }
            return true;
          },
      .add_path = [](const ProcessMemory& self, std::string_view name,
                     mallard::TextBuffer& to) noexcept { to.add(of(self).folder_).add('/').add(name); },
  };
};
