// SPDX-License-Identifier: Apache-2.0
// Files that stand in for what the kernel shows of a process in /proc.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/pagemap.hpp"
#include "tests/unit/catch.hpp"

class MadeUpFolder {
 public:
  MadeUpFolder() {
    char path[] = "/tmp/mallard-made-up-XXXXXX";
    REQUIRE(mkdtemp(path));
    proc_ = path;
    std::filesystem::create_directory(of_process());
  }
  ~MadeUpFolder() { std::filesystem::remove_all(proc_); }
  MadeUpFolder(const MadeUpFolder&) = delete;
  MadeUpFolder& operator=(const MadeUpFolder&) = delete;

  /// What stands in for /proc/PID.
  std::string of_process() const { return proc_ + "/4711"; }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(of_process() + "/" + name, std::ios::binary) << text;
  }
  void link(const std::string& name, const std::string& target) const {
    std::filesystem::create_symlink(target, of_process() + "/" + name);
  }

  /// Makes `pagemap`, where each page that is named has an entry, and no other is in memory.
  void write_page_table(const std::map<std::uintptr_t, std::uint64_t>& entries) const {
    std::ofstream file(of_process() + "/pagemap", std::ios::binary);
    std::uintptr_t next = 0;
    for (const auto& [page, entry] : entries) {
      if (page != next) file.seekp(static_cast<std::streamoff>(page / mallard::kPageBytes * sizeof entry));
      next = page + mallard::kPageBytes;
      file.write(reinterpret_cast<const char*>(&entry), sizeof entry);
    }
  }

 private:
  std::string proc_;
};

/// Entries of such a page table.
namespace page {
inline constexpr std::uint64_t kOurs = mallard::pagemap::kPresent | mallard::pagemap::kMappedOnce;
inline constexpr std::uint64_t kShared = mallard::pagemap::kPresent;
inline constexpr std::uint64_t kOurFile = kOurs | mallard::pagemap::kOfFile;
inline constexpr std::uint64_t kSharedFile = kShared | mallard::pagemap::kOfFile;
}  // namespace page
