// SPDX-License-Identifier: Apache-2.0
// The objects of a running process as libdwfl knows them, from the very files that it has mapped.
#pragma once

#include <elfutils/libdwfl.h>

#include <map>
#include <string>

#include "cli/process/process.hpp"

namespace mallard::cli {

class ProcessDwfl {
 public:
  explicit ProcessDwfl(const Process& process);
  ~ProcessDwfl();
  ProcessDwfl(const ProcessDwfl&) = delete;
  ProcessDwfl& operator=(const ProcessDwfl&) = delete;

  Dwfl* get() const { return dwfl_; }  ///< nullptr: there was no memory for it

 private:
  static int open_file(Dwfl_Module*, void** self, const char* path, Dwarf_Addr, char** name, Elf** elf);

  Dwfl* dwfl_;
  std::map<std::string, std::string> open_paths_;  ///< by the path that the process sees
};

}  // namespace mallard::cli
