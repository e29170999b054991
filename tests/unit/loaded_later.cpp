// SPDX-License-Identifier: Apache-2.0
// Objects as they are found by their headers in memory, against what the loader says of them.
#include "unwind/loaded_later.hpp"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/os.hpp"
#include "unit/catch.hpp"

using namespace mallard;
using unwind::find_loaded_later;
using unwind::forget_loaded_later;
using unwind::Module;

namespace {

struct Loaded {
  std::uintptr_t start = ~std::uintptr_t{0}, end = 0, table = 0;
  std::vector<std::uintptr_t> code;  ///< first and last byte of each segment of code
};

std::vector<Loaded> loaded_objects() {
  std::vector<Loaded> all;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        Loaded object;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = info->dlpi_phdr[i];
          const std::uintptr_t start = info->dlpi_addr + segment.p_vaddr, end = start + segment.p_memsz;
          if (segment.p_type == PT_GNU_EH_FRAME) object.table = start;
          if (segment.p_type != PT_LOAD) continue;
          if (start < object.start) object.start = start;
          if (end > object.end) object.end = end;
          if (segment.p_flags & PF_X) object.code.insert(object.code.end(), {start, end - 1});
        }
        static_cast<std::vector<Loaded>*>(to)->push_back(object);
        return 0;
      },
      &all);
  return all;
}

bool is(const Module& module, const Loaded& object) {
  return module.start == object.start && module.end == object.end && module.table == object.table;
}

}  // namespace

TEST_CASE("loaded later: every object of the process, as the loader has it") {
  forget_loaded_later();
  std::size_t checked = 0;
  for (int round = 0; round < 2; ++round)  // found, then remembered
    for (const Loaded& object : loaded_objects())
      for (const std::uintptr_t code : object.code) {
        Module module{};
        INFO(std::hex << code);
        REQUIRE(find_loaded_later(code, &module));
        CHECK(is(module, object));
        ++checked;
      }
  CHECK(checked >= 8);
}

TEST_CASE("loaded later: memory that is no object is none, also when it is asked again") {
  forget_loaded_later();
  void* memory = mmap(nullptr, 16 * kPageBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  Module module{};
  for (int round = 0; round < 2; ++round) CHECK_FALSE(find_loaded_later(address_of(memory) + 5000, &module));
  CHECK_FALSE(find_loaded_later(64, &module));  // nothing is mapped there
  static int data = 1;  // of an object, but no code of it
  CHECK_FALSE(find_loaded_later(address_of(&data), &module));
  munmap(memory, 16 * kPageBytes);
}

TEST_CASE("loaded later: what takes the place of an object that was unloaded is found anew") {
  forget_loaded_later();
  std::uintptr_t last = 0;
  int same_place = 0;
  for (int i = 0; i < 10; ++i) {
    void* library = dlopen(i % 2 ? STACK_LIB_SMALL : STACK_LIB_LARGE, RTLD_NOW);
    REQUIRE(library);
    const std::uintptr_t call = address_of(dlsym(library, "stack_lib_call"));
    Module module{};
    REQUIRE(find_loaded_later(call, &module));
    bool is_any = false;
    for (const Loaded& object : loaded_objects()) is_any |= is(module, object) && call >= object.start && call < object.end;
    CHECK(is_any);
    same_place += module.start == last;
    last = module.start;
    dlclose(library);
    forget_loaded_later();
    CHECK_FALSE((find_loaded_later(call, &module) && module.start == last));
  }
  CHECK(same_place > 0);  // else the test shows nothing
}
