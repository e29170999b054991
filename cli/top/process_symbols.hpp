// SPDX-License-Identifier: Apache-2.0
// Names for return addresses of a running process, from the symbol tables of the very files that it has
// mapped.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/process/process.hpp"
#include "cli/process/process_dwfl.hpp"
#include "cli/report/function_index.hpp"

namespace mallard::cli {

class ProcessSymbols {
 public:
  explicit ProcessSymbols(int pid);
  ~ProcessSymbols();
  ProcessSymbols(const ProcessSymbols&) = delete;
  ProcessSymbols& operator=(const ProcessSymbols&) = delete;

  struct Name {
    std::string function;       ///< demangled, or "[generated code]"; empty = unknown
    std::string module;         ///< file name; empty = none
    std::uint64_t address = 0;  ///< from where the module begins
    std::uint64_t offset = 0;   ///< from where the function begins, as far as it has a symbol
  };
  const Name& name_of(std::uint64_t return_address);

 private:
  void look_again();
  Name find(std::uint64_t return_address);
  bool is_generated(std::uint64_t address) const;
  Dwfl_Module* module_at(std::uint64_t address) const;

  int pid_;
  std::unique_ptr<ProcessDwfl> objects_;
  std::vector<ProcessRange> generated_code_;
  std::string executable_;                         ///< path that the process sees
  std::string started_as_;                         ///< empty = by the name of that file, as far as is known
  std::map<Dwfl_Module*, std::unique_ptr<FunctionIndex>> functions_;
  std::unordered_map<std::uint64_t, Name> known_;
  double looked_at_ = 0;  ///< when the mappings were read
};

}  // namespace mallard::cli
