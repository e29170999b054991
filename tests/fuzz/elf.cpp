// SPDX-License-Identifier: Apache-2.0
// What `mallard check` reads of a file that may be anything.
#include "cli/check/elf_file.hpp"
#include "cli/error.hpp"
#include "cli/check/findings.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard::cli;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const mallard::fuzz::InputFile kInput;
  kInput.set(data, size);
  try {
    if (kind_of_file(kInput.path(), "input") == FileKind::kScript) script_line(kInput.path(), "input");
    const ElfFile file = read_elf(kInput.path(), "input");
    judge_program(file, "");
    judge_library(file);
  } catch (const Error&) {
  }
  return 0;
}
