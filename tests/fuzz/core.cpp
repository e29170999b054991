// SPDX-License-Identifier: Apache-2.0
// What `mallard inspect` reads of a core file that may be anything.
#include "elf/modules.hpp"
#include "outside/core_file.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::InputFile kInput;
  kInput.set(data, size);
  outside::CoreFile core;
  if (core.open(kInput.fd())) return 0;
  const char* which = nullptr;
  core.find_files("", "", &which);
  report::LostBlocks threads{};
  core.each_thread([](const outside::ThreadState&, void*) {}, nullptr, &threads);
  Arena arena(64u << 20);
  elf::Modules modules;
  modules.read(arena, core);
  char status[512];
  core.read_file("status", status, sizeof status);
  for (const elf::Module& module : modules.all()) {
    std::uint64_t word;
    unsigned char present[4];
    core.get(module.begin, &word);
    core.get(module.end - 4, &word);
    core.pages_present(module.begin, sizeof present, present);
  }
  return 0;
}
