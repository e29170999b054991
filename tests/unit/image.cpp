// SPDX-License-Identifier: Apache-2.0
// One object read in every way that there is: as a file, without its section headers, and as it was loaded.
#include "elf/image.hpp"

#include <dlfcn.h>
#include <link.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace mallard;

namespace {

const link_map& libc() {
  static const auto* const map = static_cast<const link_map*>(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD));
  REQUIRE(map);
  return *map;
}

std::vector<unsigned char> libc_bytes() {
  std::ifstream in(libc().l_name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Address of a function of the dynamic symbol table; 0 if it is not there.
std::uint64_t address_of_symbol(const elf::Image& image, const std::string& wanted) {
  Arena arena;
  elf::SymbolTable table;
  if (!image.find_symbols(SHT_DYNSYM, &table)) return 0;
  const std::string_view names = image.read_names(table, arena);
  std::uint64_t found = 0;
  image.for_each_symbol(table, [&](const Elf64_Sym& s) {
    if (s.st_name < names.size() && wanted == names.data() + s.st_name) found = s.st_value;
  });
  return found;
}

}  // namespace

TEST_CASE("image: libc as a file, without section headers, and in memory tells the same") {
  Arena arena;
  auto bytes = libc_bytes();
  elf::Image file, bare, loaded;
  REQUIRE(file.open(libc().l_name));
  std::memset(bytes.data() + offsetof(Elf64_Ehdr, e_shoff), 0, 8);
  bare.use_memory(bytes.data(), bytes.size());
  loaded.use_process(own_process(), libc().l_addr);
  elf::SymbolTable by_sections{}, table{};
  REQUIRE(file.parse() == elf::Fault::kNone);
  REQUIRE(file.find_symbols(SHT_DYNSYM, &by_sections));
  CHECK(by_sections.is_whole);
  CHECK(by_sections.count > 1000);
  for (elf::Image* image : {&file, &bare, &loaded}) {
    REQUIRE(image->parse() == elf::Fault::kNone);
    REQUIRE(image->find_symbols(SHT_DYNSYM, &table));
    CHECK(table.count == by_sections.count);
    CHECK(table.names_bytes == by_sections.names_bytes);
    CHECK(image->read_build_id(arena) == file.read_build_id(arena));
    CHECK(address_of_symbol(*image, "getppid") + libc().l_addr ==
          reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "getppid")));
    const elf::Dynamic dynamic = image->read_dynamic();
    CHECK((dynamic.is_present && !dynamic.is_pie && dynamic.strings == file.read_dynamic().strings));
    CHECK(dynamic.relocation_bytes > 0);
  }
  CHECK(loaded.load_bias() == libc().l_addr);
  CHECK(file.load_bias() == 0);
}

TEST_CASE("image: reads end where the object ends") {
  auto bytes = libc_bytes();
  elf::Image image;
  image.use_memory(bytes.data(), bytes.size());
  REQUIRE(image.parse() == elf::Fault::kNone);
  char two[2];
  CHECK(image.read(bytes.size() - 2, two, 2));
  CHECK_FALSE(image.read(bytes.size() - 1, two, 2));
  CHECK(image.read_some(bytes.size() - 1, two, 2) == 1);
  CHECK_FALSE(image.read(~std::uint64_t{0}, two, 2));
  CHECK_FALSE(image.holds(1, ~std::uint64_t{0}));
  CHECK_FALSE(image.read_address(~std::uint64_t{0} - 1, two, 2));
  image.use_memory("no object", 9);
  CHECK(image.parse() == elf::Fault::kNoProgram);
  CHECK_FALSE(image.open("/tmp"));
  CHECK_FALSE(image.open("/nonexistent"));
}
