// SPDX-License-Identifier: Apache-2.0
#include "cli/top/process_symbols.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/process.hpp"
#include "cli/process/target.hpp"

namespace mallard::cli {
namespace {

constexpr double kLookAgainSeconds = 2;  // at most so often for an address in no known module

/// What the program was started as, where that was by another name of its file: reports call it so, too.
/// Empty where its title is something else, as after prctl(PR_SET_NAME).
std::string started_as(int pid) {
  const std::string folder = fmt::format("/proc/{}", pid);
  std::string title, words;
  if (!read_whole(folder + "/comm", &title) || !read_whole(folder + "/cmdline", &words)) return "";
  if (title.ends_with('\n')) title.pop_back();
  const std::string first = words.substr(0, words.find_first_of(std::string_view(" \0", 2)));
  return base_name(first) == title ? title : "";
}

}  // namespace

ProcessSymbols::ProcessSymbols(int pid) : pid_(pid) {}
ProcessSymbols::~ProcessSymbols() { functions_.clear(); }  // before the objects that they are of

void ProcessSymbols::look_again() {
  looked_at_ = now_seconds();
  functions_.clear();
  objects_.reset();
  generated_code_.clear();
  try {
    Process process = read_process(pid_);
    executable_ = process.executable;
    started_as_ = started_as(pid_);
    objects_ = std::make_unique<ProcessDwfl>(process);
    generated_code_ = std::move(process.generated_code);
  } catch (const Error&) {
    return;  // it is gone
  }
}

Dwfl_Module* ProcessSymbols::module_at(std::uint64_t address) const {
  return objects_ && objects_->get() ? dwfl_addrmodule(objects_->get(), address) : nullptr;
}

bool ProcessSymbols::is_generated(std::uint64_t address) const {
  return std::any_of(generated_code_.begin(), generated_code_.end(), [address](const ProcessRange& range) {
    return address >= range.begin && address < range.end;
  });
}

ProcessSymbols::Name ProcessSymbols::find(std::uint64_t return_address) {
  const std::uint64_t call = return_address - 1;
  Dwfl_Module* module = module_at(call);
  if (!module && now_seconds() - looked_at_ >= kLookAgainSeconds) {
    look_again();
    module = module_at(call);
  }
  if (!module) return {is_generated(call) ? "[generated code]" : "", "", 0, 0};
  Dwarf_Addr begin = 0;
  const char* path = dwfl_module_info(module, nullptr, &begin, nullptr, nullptr, nullptr, nullptr, nullptr);
  const bool renamed = path && path == executable_ && !started_as_.empty();
  const std::string name = printable(renamed ? started_as_ : base_name(path ? path : ""));
  auto& index = functions_[module];
  if (!index) index = std::make_unique<FunctionIndex>(module);
  std::uint64_t function = call;
  const std::string_view symbol = index->name_at(call, &function);
  return {symbol.empty() ? "" : demangled(symbol), name, return_address - begin, return_address - function};
}

const ProcessSymbols::Name& ProcessSymbols::name_of(std::uint64_t return_address) {
  const auto found = known_.find(return_address);
  if (found != known_.end()) return found->second;
  const Name name = find(return_address);
  if (name.module.empty()) {  // perhaps its object is being loaded: not remembered
    static thread_local Name unknown;
    unknown = name;
    return unknown;
  }
  return known_.emplace(return_address, name).first->second;
}

}  // namespace mallard::cli
