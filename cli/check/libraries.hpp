// SPDX-License-Identifier: Apache-2.0
// Which files the loader would load with a program, found as ld.so does, without running anything.
#pragma once

#include <string>
#include <vector>

#include "cli/check/elf_file.hpp"

namespace mallard::cli {

struct Libraries {
  struct Missing {
    std::string name, needed_by;
  };
  struct Unreadable {
    std::string path, why;
  };
  std::vector<ElfFile> loaded;  ///< breadth first, as the loader's search order
  std::vector<Missing> missing;
  std::vector<Unreadable> unreadable;
};

/// The closure of DT_NEEDED: RPATH, LD_LIBRARY_PATH, RUNPATH, ld.so.cache, default directories.
Libraries find_libraries(const ElfFile& program);

}  // namespace mallard::cli
