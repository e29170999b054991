// SPDX-License-Identifier: Apache-2.0
// The file of one module with its debug information, wherever libdwfl finds it: in the file, in a separate
// file by build-id or .gnu_debuglink, or from the servers in DEBUGINFOD_URLS.
#pragma once

#include <elfutils/libdwfl.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/report/report_file.hpp"

namespace mallard::cli {

class ModuleFile {
 public:
  explicit ModuleFile(const report::ModuleRow& module);

  /// False: neither the file that the process ran nor another one with its build-id was found.
  bool is_open() const { return module_ != nullptr; }
  /// Why it is not; empty if it is.
  const std::string& note() const { return note_; }

  /// Fills in the names and lines of these frames, which are sorted by address. \param storage  of both
  void symbolize(std::span<report::Frame* const> frames, Storage* storage) const;

 private:
  struct End {
    void operator()(Dwfl* d) const { dwfl_end(d); }
  };
  bool open_file(const std::string& path, std::string_view build_id);
  bool open_by_build_id(const report::ModuleRow& module);

  std::unique_ptr<Dwfl, End> dwfl_;
  Dwfl_Module* module_ = nullptr;
  GElf_Addr bias_ = 0;  ///< libdwfl's addresses less the report's
  std::string note_;
};

}  // namespace mallard::cli
