// SPDX-License-Identifier: Apache-2.0
// The report and the command give one function one name, whatever other names it has.
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/report/function_index.hpp"
#include "symbols/elf_symbols.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;

// Functions with several names. They are not called: their addresses are looked up in this file.
extern "C" {
__attribute__((noinline, used)) int __choice_probe(int x) noexcept { return x * 7 + 1; }
int choice_probe(int) noexcept __attribute__((alias("__choice_probe")));
[[gnu::used]] static int __GI___choice_probe(int) noexcept __attribute__((alias("__choice_probe")));
[[gnu::used, gnu::noinline]] static int choice_rule_95(int x) noexcept { return x * 5 + 2; }
[[gnu::used]] static int choice_rule_103(int) noexcept __attribute__((alias("choice_rule_95")));
}

namespace {

int no_debug_file(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word,
                  char**) {
  return -1;
}

constexpr Dwfl_Callbacks kCallbacks = {dwfl_build_id_find_elf, no_debug_file, dwfl_offline_section_address,
                                       nullptr};

struct Names {
  std::vector<std::string> of_report, of_command;
};

/// Names of many addresses in a file, one for each `step` bytes of its code.
Names names_in(const char* path, std::uint64_t step) {
  Names names;
  const std::unique_ptr<Dwfl, decltype(&dwfl_end)> dwfl(dwfl_begin(&kCallbacks), &dwfl_end);
  dwfl_report_begin(dwfl.get());
  Dwfl_Module* module = dwfl_report_elf(dwfl.get(), path, path, -1, 0, true);
  dwfl_report_end(dwfl.get(), nullptr, nullptr);
  REQUIRE(module);
  GElf_Addr bias = 0;
  REQUIRE(dwfl_module_getelf(module, &bias));
  const cli::FunctionIndex index(module);

  Arena arena;
  elf::Image image;
  REQUIRE(image.open(path));
  std::vector<symbols::Symbol> symbols;
  for (std::uint64_t at = 1; at < image.size(); at += step) symbols.push_back({at, 0, at, {}, 0});
  symbols::name_symbols(arena, image, 0, symbols);
  for (const symbols::Symbol& s : symbols) {
    names.of_report.emplace_back(s.name);
    names.of_command.emplace_back(index.name_at(s.pc - 1 + bias));
  }
  return names;
}

std::size_t count(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<std::size_t>(std::count(names.begin(), names.end(), name));
}

}  // namespace

TEST_CASE("symbol choice: aliases in this very program") {
  const Names names = names_in("/proc/self/exe", 1);
  CHECK((names.of_report == names.of_command));
  for (const auto& all : {names.of_report, names.of_command}) {
    CHECK(count(all, "choice_probe") > 0);
    CHECK(count(all, "choice_rule_95") > 0);
    for (const char* other : {"__choice_probe", "__GI___choice_probe", "choice_rule_103"})
      CHECK(count(all, other) == 0);
  }
}

TEST_CASE("symbol choice: report and command agree all over real libraries") {
  std::size_t looked_at = 0;
  for (const char* path : {"/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib64/libc.so.6",
                           "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/usr/lib64/libstdc++.so.6",
                           "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0"}) {
    if (!std::filesystem::exists(path)) continue;
    ++looked_at;
    INFO(path);
    const Names names = names_in(path, 5);
    std::size_t named = 0, differ = 0;
    for (std::size_t i = 0; i < names.of_report.size(); ++i) {
      named += !names.of_report[i].empty();
      if (names.of_report[i] == names.of_command[i]) continue;
      if (++differ == 1)
        UNSCOPED_INFO(names.of_report[i] << " in the report, " << names.of_command[i] << " by the command");
    }
    CHECK(named > 100);
    CHECK(differ == 0);
  }
  CHECK(looked_at > 0);
}
