// SPDX-License-Identifier: Apache-2.0
#include "cli/report/module_file.hpp"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/demangled.hpp"
#include "cli/report/function_index.hpp"
#include "cli/report/inlines.hpp"

namespace mallard::cli {
namespace {

constexpr Dwfl_Callbacks kCallbacks = {dwfl_build_id_find_elf, dwfl_standard_find_debuginfo,
                                       dwfl_offline_section_address, nullptr};

std::string hex_of(const void* bytes, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i)
    out += fmt::format("{:02x}", static_cast<const unsigned char*>(bytes)[i]);
  return out;
}

/// Empty if the text is no build-id.
std::vector<unsigned char> bytes_of(std::string_view hex) {
  std::vector<unsigned char> out;
  if (hex.size() % 2 != 0 || hex.size() > 128 || hex.find_first_not_of("0123456789abcdef") != hex.npos)
    return out;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    out.push_back(static_cast<unsigned char>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
  return out;
}

/// Opened so that a FIFO in the place of a library does not hold us up. \return -1, with errno
int open_regular(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat facts {};
  if (fd < 0 || (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode))) return fd;
  ::close(fd);
  errno = EINVAL;
  return -1;
}

}  // namespace

/// Addresses stay those of the ELF file: the module is put where its bias is 0.
bool ModuleFile::open_file(const std::string& path, std::string_view build_id) {
  const int fd = open_regular(path);
  if (fd < 0) {
    note_ = fmt::format("'{}' cannot be opened: {}", printable(path), std::strerror(errno));
    return false;
  }
  dwfl_report_begin(dwfl_.get());
  Dwfl_Module* m = dwfl_report_elf(dwfl_.get(), path.c_str(), path.c_str(), fd, 0, true);  // takes fd
  dwfl_report_end(dwfl_.get(), nullptr, nullptr);
  if (!m) {
    ::close(fd);
    note_ = fmt::format("'{}' cannot be read: {}", printable(path), dwfl_errmsg(-1));
    return false;
  }
  const void* id = nullptr;
  Elf* elf = dwfl_module_getelf(m, &bias_);
  const ssize_t size = elf ? dwelf_elf_gnu_build_id(elf, &id) : -1;
  const std::string found = size > 0 ? hex_of(id, static_cast<std::size_t>(size)) : "";
  if (elf && found == build_id) {
    module_ = m;
    return true;
  }
  note_ = fmt::format("'{}' is not the file that the process ran (its build-id is {}, that was {})",
                      printable(path), found.empty() ? "none" : found,
                      build_id.empty() ? "none" : printable(build_id));
  return false;
}

/// The file is gone or another one: its like may be in a build-id directory or on a debuginfod server.
bool ModuleFile::open_by_build_id(const report::ModuleRow& module) {
  const auto id = bytes_of(module.build_id);
  if (id.size() < 2 || module.end <= module.load_bias) return false;
  dwfl_report_begin(dwfl_.get());
  Dwfl_Module* m = dwfl_report_module(dwfl_.get(), module.path.data(), 0, module.end - module.load_bias);
  if (m && dwfl_module_report_build_id(m, id.data(), id.size(), 0) != 0) m = nullptr;
  dwfl_report_end(dwfl_.get(), nullptr, nullptr);
  if (m && dwfl_module_getelf(m, &bias_)) module_ = m;
  if (module_) return true;
  // Without its program, libdwfl does not ask for the debug file, which says as much.
  const std::string debug = fmt::format("/usr/lib/debug/.build-id/{}/{}.debug", module.build_id.substr(0, 2),
                                        module.build_id.substr(2));
  return access(debug.c_str(), R_OK) == 0 && open_file(debug, module.build_id);
}

ModuleFile::ModuleFile(const report::ModuleRow& module) : dwfl_(dwfl_begin(&kCallbacks)) {
  if (!dwfl_) {
    note_ = fmt::format("libdwfl cannot be used: {}", dwfl_errmsg(-1));
    return;
  }
  if (open_file(std::string(module.path), module.build_id)) return;
  const std::string why = note_;
  if (open_by_build_id(module)) note_.clear();
  else note_ = why + ": its frames are named as in the report";
}

void ModuleFile::symbolize(std::span<report::Frame* const> frames, Storage* storage) const {
  const FunctionIndex functions(module_);
  std::vector<GElf_Addr> wanted;
  // The call stands before the address to which it returns.
  for (const report::Frame* f : frames) wanted.push_back(f->module_address + bias_ - 1);
  std::vector<std::vector<report::SourceLine>> chains = inline_chains(module_, wanted, storage);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    report::Frame& frame = *frames[i];
    const std::string_view symbol = functions.name_at(wanted[i]);
    std::vector<report::SourceLine>& lines = chains[i];
    if (lines.empty()) lines.push_back({});
    report::SourceLine& outermost = lines.back();
    // The symbol table knows the parts of a function (".cold") and names that are the same in the report.
    if (!symbol.empty()) outermost.function = storage->text(demangled(symbol));
    if (outermost.function.empty()) outermost.function = frame.function;
    frame.function = outermost.function;
    if (!symbol.empty() || lines.size() > 1 || outermost.line > 0)
      frame.lines = storage->list(std::move(lines));
  }
}

}  // namespace mallard::cli
