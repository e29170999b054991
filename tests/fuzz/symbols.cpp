// SPDX-License-Identifier: Apache-2.0
// Symbol tables and debug information of a module that may be anything.
#include "cli/error.hpp"
#include "cli/report/module_file.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard::cli;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const mallard::fuzz::InputFile kInput;
  kInput.set(data, size);
  try {
    const ModuleFile file({kInput.path(), "", 0, 1 << 20, 0});
    if (!file.is_open()) return 0;
    // All over the code of small files, where those of the corpus have theirs.
    std::vector<mallard::report::Frame> frames(64);
    std::vector<mallard::report::Frame*> wanted;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      frames[i].module_address = 0x200 + i * 16;
      wanted.push_back(&frames[i]);
    }
    Storage storage;
    file.symbolize(wanted, &storage);
  } catch (const Error&) {
  }
  return 0;
}
