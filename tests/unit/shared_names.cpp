// SPDX-License-Identifier: Apache-2.0
// What pieces of shared memory are called, by their paths.
#include "report/facts/shared_names.hpp"

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

elf::Mapping mapping_of(std::string_view path, bool shared = true) {
  elf::Mapping m{};
  m.path = path;
  m.shared = shared;
  return m;
}

std::string name_of(std::string_view path) {
  Arena arena;
  return std::string(name_of_shared_memory(arena, mapping_of(path)));
}

}  // namespace

TEST_CASE("shared memory is told by its path, and named") {
  using Pair = std::pair<std::string_view, std::string_view>;
  for (const auto& [path, name] : {Pair{"/memfd:frames", "memfd frames"},
                                   {"/SYSV0000162e", "System V segment, key 0x0000162e"},
                                   {"[anon_shmem:buffers]", "anonymous, named buffers"},
                                   {"/dev/zero", "anonymous"},
                                   {"/dev/shm/postgres.1", "/dev/shm/postgres.1"}}) {
    CAPTURE(path);
    CHECK(is_shared_memory(mapping_of(path)));
    CHECK(name_of(path) == name);
  }
  CHECK(name_of("[anon_shmem:cut") == "[anon_shmem:cut");
  CHECK(!is_shared_memory(mapping_of("/var/data.db")));
  CHECK(!is_shared_memory(mapping_of("[anon:buffers]")));
  CHECK(!is_shared_memory(mapping_of("/dev/zero", false)));  // a private mapping of that device
  CHECK(is_shared_memory(mapping_of("/memfd:frames", false)));
}

TEST_CASE("shared memory of a Java VM is a runtime's heap") {
  CHECK(runtime_of_shared_memory("/memfd:java_heap") == "the heap of a Java VM (ZGC)");
  CHECK(runtime_of_shared_memory("/memfd:frames").empty());
}
