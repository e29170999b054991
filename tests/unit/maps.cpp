// SPDX-License-Identifier: Apache-2.0
// Lines of /proc/PID/maps, as kernels write them and as nobody should.
#include "elf/maps.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace mallard;

TEST_CASE("maps: a line tells range, rights, place in the file and path") {
  const auto m = elf::parse_mapping(
      "7f1fe2a00000-7f1fe2a28000 r-xp 00028000 fd:01 1055774                    /usr/lib/libc.so.6");
  REQUIRE(m);
  CHECK(m->begin == 0x7f1fe2a00000);
  CHECK(m->end == 0x7f1fe2a28000);
  CHECK((m->readable && !m->writable && m->executable && !m->shared && !m->deleted));
  CHECK(m->offset == 0x28000);
  CHECK(m->device == 0xfd01);
  CHECK(m->inode == 1055774);
  CHECK(m->path == "/usr/lib/libc.so.6");
}

TEST_CASE("maps: anonymous memory has no path, and only files are deleted") {
  CHECK(elf::parse_mapping("1000-2000 rw-s 00000000 00:00 0 ")->path.empty());
  CHECK(elf::parse_mapping("1000-2000 rw-s 00000000 00:00 0 ")->shared);
  const auto file = elf::parse_mapping("1000-2000 rw-p 00000000 00:01 9 /tmp/a b (deleted)");
  CHECK((file->deleted && file->path == "/tmp/a b"));
  const auto named = elf::parse_mapping("1000-2000 rw-p 00000000 00:00 0 [anon:x (deleted)");
  CHECK((!named->deleted && named->path == "[anon:x (deleted)"));
}

TEST_CASE("maps: what is no mapping is not taken for one") {
  const std::string good = "1000-2000 rw-p 00000000 00:01 9 /tmp/a";
  for (std::size_t n = 0; n < good.find(" /tmp"); ++n) {
    INFO(good.substr(0, n));
    CHECK(!elf::parse_mapping(good.substr(0, n)));
  }
  CHECK(!elf::parse_mapping("2000-1000 rw-p 00000000 00:01 9 /tmp/a"));
  CHECK(!elf::parse_mapping("1000-1000 rw-p 00000000 00:01 9 /tmp/a"));
  CHECK(!elf::parse_mapping("1000-2000 rw-p- 0000000 00:01 9 /tmp/a"));
  CHECK(!elf::parse_mapping("1000-11111111122222222 rw-p 00000000 00:01 9 /tmp/a"));
  CHECK(!elf::parse_mapping("Rss:                   4 kB"));
}

TEST_CASE("maps: a newline in a path is written as \\012") {
  const std::string_view escaped = "/tmp/a\\012b\\01";
  std::string path(escaped.size(), '\0');
  path.resize(elf::unescape_path(escaped, path.data()));
  CHECK(path == "/tmp/a\nb\\01");
}

TEST_CASE("maps: this program is mapped from the file that stat finds") {
  struct stat facts {};
  REQUIRE(stat("/proc/self/exe", &facts) == 0);
  std::ifstream maps("/proc/self/maps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    const auto m = elf::parse_mapping(line);
    INFO(line);
    REQUIRE(m);
    found = found || (m->inode == facts.st_ino && m->executable);
  }
  CHECK(found);
}

TEST_CASE("maps: what is told of twice, because it grew between two pieces, is visited once") {
  char name[] = "/tmp/mallard-maps-XXXXXX";
  const int fd = mkstemp(name);
  REQUIRE(fd >= 0);
  constexpr std::string_view kLines =
      "1000-3000 rw-p 00000000 00:00 0 \n"
      "1000-5000 rw-p 00000000 00:00 0 \n"
      "4000-5000 rw-p 00000000 00:00 0 \n"
      "4000-7000 r--p 00001000 00:01 9 /tmp/a\n";
  REQUIRE(write(fd, kLines.data(), kLines.size()) == static_cast<ssize_t>(kLines.size()));
  Arena arena;
  std::vector<elf::Mapping> seen;
  REQUIRE(elf::for_each_mapping(
      arena, name,
      [](const elf::Mapping& m, void* to) noexcept { static_cast<std::vector<elf::Mapping>*>(to)->push_back(m); },
      &seen));
  close(fd);
  unlink(name);
  REQUIRE(seen.size() == 3);
  CHECK((seen[1].begin == 0x3000 && seen[1].end == 0x5000));
  CHECK((seen[2].begin == 0x5000 && seen[2].end == 0x7000 && seen[2].offset == 0x2000));
}
