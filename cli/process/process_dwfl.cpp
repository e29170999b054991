// SPDX-License-Identifier: Apache-2.0
#include "cli/process/process_dwfl.hpp"

#include <fcntl.h>

namespace mallard::cli {
namespace {

/// Separate debug information is not looked for: it may have to be fetched from a server.
int no_debug_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word,
                  char**) {
  return -1;
}

}  // namespace

/// The file that is mapped, in the process's own root; never another one that has taken its path.
int ProcessDwfl::open_file(Dwfl_Module*, void** self, const char* path, Dwarf_Addr, char**, Elf**) {
  const auto* objects = static_cast<const ProcessDwfl*>(*self);
  const auto found = objects->open_paths_.find(path);
  if (found == objects->open_paths_.end() || found->second.empty()) return -1;
  return open(found->second.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

ProcessDwfl::ProcessDwfl(const Process& process) {
  static const Dwfl_Callbacks callbacks = {open_file, no_debug_file, nullptr, nullptr};
  dwfl_ = dwfl_begin(&callbacks);
  if (!dwfl_) return;
  open_paths_[process.executable] = process.executable_open;
  for (const ProcessObject& o : process.libraries) open_paths_[o.path] = o.open_path;
  dwfl_report_begin(dwfl_);
  dwfl_linux_proc_report(dwfl_, process.pid);
  dwfl_report_end(dwfl_, nullptr, nullptr);
  dwfl_getmodules(
      dwfl_,
      [](Dwfl_Module*, void** user, const char*, Dwarf_Addr, void* self) {
        *user = self;
        return static_cast<int>(DWARF_CB_OK);
      },
      this, 0);
}

ProcessDwfl::~ProcessDwfl() {
  if (dwfl_) dwfl_end(dwfl_);
}

}  // namespace mallard::cli
