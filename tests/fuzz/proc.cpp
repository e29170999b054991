// SPDX-License-Identifier: Apache-2.0
// What is read of /proc: maps and smaps by lines, pagemap by entries. The same bytes stand in for each of
// them; names of files and mappings in them are another user's, and the rest may be cut off anywhere.
#include <fcntl.h>

#include <initializer_list>
#include <string>

#include "base/pagemap.hpp"
#include "base/process_memory.hpp"
#include "elf/maps.hpp"
#include "report/facts/smaps.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

/// A process of which every file in /proc is the input.
class Process : public ProcessMemory {
 public:
  explicit Process(const char* path) : ProcessMemory(kAccess), path_(path) {}

 private:
  const char* path_;

  static const Access kAccess;
};

constexpr ProcessMemory::Access Process::kAccess = {
    .in_place = false,
    .copy = [](const ProcessMemory&, void*, std::uintptr_t, std::size_t) noexcept { return false; },
    .copy_pieces = [](const ProcessMemory&, void*, const std::uintptr_t*, std::size_t,
                      std::size_t) noexcept { return std::size_t{0}; },
    .pages_present = [](const ProcessMemory&, std::uintptr_t, std::size_t,
                        unsigned char*) noexcept { return false; },
    .add_path = [](const ProcessMemory& self, std::string_view,
                   TextBuffer& to) noexcept { to.add(static_cast<const Process&>(self).path_); },
};

void read_maps(Arena& arena, const char* path) {
  elf::for_each_mapping(
      arena, path,
      [](const elf::Mapping& m, void*) noexcept { require(m.begin < m.end && m.path.size() < 65536); },
      nullptr);
}

void read_smaps(Arena& arena, const Process& process) {
  std::span<const report::SmapsEntry> entries;
  report::read_smaps(arena, process, &entries);
  for (const report::SmapsEntry& e : entries) require(e.begin < e.end);
}

void read_pagemap(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  unsigned char present[1000];
  for (const std::size_t pages : {1, 3, 512, 1000})
    if (pagemap::read_presence(fd, 0, pages, present))
      for (std::size_t i = 0; i < pages; ++i) require(present[i] <= 1);
  close(fd);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::InputFile kInput;
  kInput.set(data, size);
  Arena arena;
  const std::string path = kInput.path();
  const Process process(path.c_str());
  read_maps(arena, path.c_str());
  read_smaps(arena, process);
  read_pagemap(path.c_str());
  // Lines as they are, without a file: the shortest of all inputs are lines that break off.
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  if (const auto mapping = elf::parse_mapping(line)) {
    std::string real(mapping->path.size(), '\0');
    require(elf::unescape_path(mapping->path, real.data()) <= real.size());
  }
  return 0;
}
