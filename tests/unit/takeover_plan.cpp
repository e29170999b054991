// SPDX-License-Identifier: Apache-2.0
// What may be taken over in an executable that is whole, and in thousands that are damaged or lie: this code
// runs in the host before main. OWN_MALLOC_PROGRAM is built from tests/embedded/cases/own_allocator.c.
#include "inside/plan.hpp"

#include <fcntl.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arch/code.hpp"
#include "arch/instructions.hpp"
#include "elf/program_file.hpp"
#include "inside/branch_or_chance.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::inside;

namespace {

using Bytes = std::vector<unsigned char>;

template <class T>
T read_at(const Bytes& b, std::size_t at) {
  T t;
  REQUIRE(at + sizeof t <= b.size());
  std::memcpy(&t, b.data() + at, sizeof t);
  return t;
}

template <class T>
void write_at(Bytes& b, std::size_t at, T value) {
  REQUIRE(at + sizeof value <= b.size());
  std::memcpy(b.data() + at, &value, sizeof value);
}

const Bytes& program() {
  static const Bytes bytes = [] {
    std::ifstream in(OWN_MALLOC_PROGRAM, std::ios::binary);
    return Bytes{std::istreambuf_iterator<char>(in), {}};
  }();
  REQUIRE(bytes.size() > sizeof(Elf64_Ehdr));
  return bytes;
}

const TakeoverPlan& plan_of(const Bytes& bytes, EmbeddedAction action = EmbeddedAction::kRedirect) {
  static const int fd = memfd_create("program", MFD_CLOEXEC);
  static auto* const plan = new TakeoverPlan;
  REQUIRE(ftruncate(fd, 0) == 0);
  REQUIRE(pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  plan_takeover(fd, action, plan);
  return *plan;
}

std::string why(const TakeoverPlan& plan) { return std::string(plan.why.view()); }

/// Where section headers of this type stand in the file.
std::vector<std::size_t> sections(const Bytes& b, std::uint32_t type) {
  const auto header = read_at<Elf64_Ehdr>(b, 0);
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const std::size_t at = header.e_shoff + i * sizeof(Elf64_Shdr);
    if (read_at<Elf64_Shdr>(b, at).sh_type == type) found.push_back(at);
  }
  return found;
}

/// Where the symbols of this name stand in the file, in both tables.
std::vector<std::size_t> symbols(const Bytes& b, const std::string& name) {
  std::vector<std::size_t> found;
  const auto header = read_at<Elf64_Ehdr>(b, 0);
  for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM})
    for (const std::size_t at : sections(b, type)) {
      const auto table = read_at<Elf64_Shdr>(b, at);
      const auto names = read_at<Elf64_Shdr>(b, header.e_shoff + table.sh_link * sizeof(Elf64_Shdr));
      for (std::size_t s = table.sh_offset; s < table.sh_offset + table.sh_size; s += sizeof(Elf64_Sym)) {
        const auto* text = b.data() + names.sh_offset + read_at<Elf64_Sym>(b, s).st_name;
        if (name == reinterpret_cast<const char*>(text)) found.push_back(s);
      }
    }
  REQUIRE(!found.empty());
  return found;
}

template <class Change>
const TakeoverPlan& plan_with_malloc(Change change) {
  Bytes b = program();
  for (const std::size_t at : symbols(b, "malloc")) {
    auto s = read_at<Elf64_Sym>(b, at);
    change(s);
    write_at(b, at, s);
  }
  return plan_of(b);
}

/// Where the file says that the entry is must be code that the file has.
void require_sound(const TakeoverPlan& plan, const Bytes& b) {
  REQUIRE(plan.count <= kMaxTakeoverEntries);
  if (plan.answer != TakeoverAnswer::kPossible) return;
  const auto header = read_at<Elf64_Ehdr>(b, 0);
  for (std::size_t e = 0; e < plan.count; ++e) {
    bool is_code = false;
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
      const auto s = read_at<Elf64_Phdr>(b, header.e_phoff + i * sizeof(Elf64_Phdr));
      const std::uint64_t offset = plan.entries[e].address - s.p_vaddr;
      is_code |= s.p_type == PT_LOAD && (s.p_flags & PF_X) && offset < s.p_filesz &&
                 s.p_filesz - offset >= kJumpBytes && s.p_offset + offset + kJumpBytes <= b.size();
    }
    INFO(plan.entries[e].target << " at " << plan.entries[e].address);
    CHECK(is_code);
  }
}

}  // namespace

TEST_CASE("an executable with its own malloc can be taken over") {
  const TakeoverPlan& plan = plan_of(program());
  INFO(why(plan));
  CHECK(plan.answer == TakeoverAnswer::kPossible);
  CHECK(plan.count == 8);
  require_sound(plan, program());
}

TEST_CASE("an executable with its own malloc can be observed, and what it displaces is whole instructions") {
  const TakeoverPlan& plan = plan_of(program(), EmbeddedAction::kObserve);
  INFO(why(plan));
  if (!arch::can_decode()) {
    CHECK(why(plan) == "this mallard was built without a disassembler");
    return;
  }
  CHECK(plan.answer == TakeoverAnswer::kPossible);
  require_sound(plan, program());
  std::size_t watched = 0;
  for (const TakeoverEntry& e : std::span(plan.entries, plan.count)) {
    INFO(e.target);
    CHECK((e.displaced == 0) == (e.target == "malloc_usable_size"));
    CHECK((e.displaced == 0 || e.displaced >= kJumpBytes));
    watched += e.displaced > 0;
  }
  CHECK(watched == 7);
}

TEST_CASE("a branch is told from bytes that read as one by chance") {
  if (!arch::can_decode()) return;
  const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  elf::ProgramFile file;
  const char* reason = nullptr;
  REQUIRE(file.read(fd, &reason));
  std::size_t branches = 0, denied = 0, chances = 0, believed = 0;
  file.for_each_function([&](std::string_view, const Elf64_Sym& s, bool) noexcept {
    std::vector<unsigned char> code(s.st_size + 16);
    if (s.st_size < 64 || !file.image().read_address(s.st_value, code.data(), code.size())) return true;
    for (std::size_t at = 0; at < s.st_size && branches + chances < 40'000;) {
      arch::Instruction i;
      if (!arch::decode(code.data() + at, code.size() - at, s.st_value + at, &i)) break;
      for (std::size_t n = 0; n < i.bytes; ++n) {
        const std::uint64_t address = s.st_value + at + n;
        arch::Reference found;
        if (!arch::reference_at(&code[at + n], address, &found) || found.is_address) continue;
        const bool is_real = i.is_branch && found.target == i.target;
        (is_real ? branches : chances) += 1;
        const bool is_believed = is_branch(file, address, found.target);
        denied += is_real && !is_believed;
        believed += !is_real && is_believed;
      }
      at += i.bytes;
    }
    return true;
  });
  close(fd);
  CHECK(branches > 10'000);
  CHECK(denied == 0);
  CHECK(chances > 300);
  CHECK(believed * 20 < chances);
}

// A function right behind data that reads as the beginning of a long instruction, with a symbol of its own.
__asm__(
    ".text\n.balign 64\n.fill 15, 4, 0x80808080\n.long 5\n"
    ".globl takeover_plan_behind_data\n.type takeover_plan_behind_data, @function\n"
    "takeover_plan_behind_data: jmp takeover_plan_far\n.size takeover_plan_behind_data, . - takeover_plan_behind_data\n"
    ".fill 200, 1, 0x90\n"
    ".globl takeover_plan_far\n.type takeover_plan_far, @function\n"
    "takeover_plan_far: ret\n.size takeover_plan_far, . - takeover_plan_far\n");

TEST_CASE("a branch right behind data is one") {
  const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  elf::ProgramFile file;
  const char* reason = nullptr;
  REQUIRE(file.read(fd, &reason));
  std::uint64_t from = 0, to = 0;
  file.for_each_function([&](std::string_view name, const Elf64_Sym& s, bool) noexcept {
    if (name == "takeover_plan_behind_data") from = s.st_value;
    if (name == "takeover_plan_far") to = s.st_value;
    return true;
  });
  close(fd);
  REQUIRE(from != 0);
  CHECK(is_branch(file, from, to));
}

TEST_CASE("an entry that cannot be overwritten stands against all") {
  CHECK(why(plan_with_malloc([](Elf64_Sym& s) { s.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC); })) ==
        "malloc is chosen at load time (an IFUNC)");
  for (const std::uint64_t lie :
       {~std::uint64_t{0}, ~std::uint64_t{0} - 3, std::uint64_t{1} << 63, std::uint64_t{0}})
    CHECK(why(plan_with_malloc([lie](Elf64_Sym& s) { s.st_value = lie; })) ==
          "the code of malloc is not in its file");
  const auto data = read_at<Elf64_Sym>(program(), symbols(program(), "stdout@GLIBC_2.2.5").front()).st_value;
  CHECK(plan_with_malloc([data](Elf64_Sym& s) { s.st_value = data; }).answer == TakeoverAnswer::kRefused);
  CHECK(why(plan_with_malloc([](Elf64_Sym& s) { s.st_size = 2; })) == "malloc is too short for a jump");
  CHECK(why(plan_with_malloc([](Elf64_Sym& s) { s.st_shndx = SHN_UNDEF; })) ==
        "it defines free without malloc");
  CHECK(why(plan_with_malloc([](Elf64_Sym& s) { s.st_name = ~0u; })) == "it defines free without malloc");
}

TEST_CASE("a stripped allocator is known by its messages, written with slashes or not") {
  for (const auto& [message, name] :
       {std::pair{"partition_allocator/src/partition_alloc", "PartitionAlloc"}, {"TBBmalloc: ", "tbbmalloc"}}) {
    Bytes b = program();
    for (const std::size_t at : sections(b, SHT_SYMTAB)) write_at(b, at + offsetof(Elf64_Shdr, sh_type), std::uint32_t{SHT_NULL});
    for (const std::size_t at : sections(b, SHT_PROGBITS)) {
      const auto s = read_at<Elf64_Shdr>(b, at);
      if ((s.sh_flags & (SHF_ALLOC | SHF_EXECINSTR | SHF_WRITE)) != SHF_ALLOC || s.sh_size < 64) continue;
      std::memcpy(b.data() + s.sh_offset, message, std::strlen(message));
      break;
    }
    CHECK(why(plan_of(b)) == std::string("it is stripped, so that not all entry points of ") + name +
                                 " can be found");
  }
}

TEST_CASE("a file whose tables lie is refused") {
  for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) {
    const std::size_t at = sections(program(), type).front();
    for (const std::uint64_t lie :
         {std::uint64_t{1} << 62, ~std::uint64_t{0}, std::uint64_t{program().size()}}) {
      Bytes b = program();
      write_at(b, at + offsetof(Elf64_Shdr, sh_offset), lie);
      CHECK(why(plan_of(b)) == "its symbol tables cannot be read");
      b = program();
      write_at(b, at + offsetof(Elf64_Shdr, sh_size), lie);
      CHECK(why(plan_of(b)) == "its symbol tables cannot be read");
    }
    Bytes b = program();
    write_at(b, at + offsetof(Elf64_Shdr, sh_link), ~std::uint32_t{0});
    CHECK(why(plan_of(b)) == "its symbol tables cannot be read");
  }
  Bytes b = program();
  write_at(b, offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{65535});
  CHECK(why(plan_of(b)) == "its file is damaged");
  b = program();
  write_at(b, offsetof(Elf64_Ehdr, e_machine), std::uint16_t{EM_AARCH64});
  CHECK(why(plan_of(b)) == "its file is not a program for x86-64");
  for (std::size_t bytes = 0; bytes < program().size() - sizeof(Elf64_Shdr); bytes += 251)
    CHECK(plan_of(Bytes(program().begin(), program().begin() + static_cast<long>(bytes))).answer ==
          TakeoverAnswer::kRefused);
}

TEST_CASE("damage at random neither crashes nor leads outside the code") {
  std::minstd_rand random(1);
  constexpr std::uint64_t kLies[] = {0, 1, 4, 0x1000, 0xffffffff, std::uint64_t{1} << 63, ~std::uint64_t{0}};
  const auto header = read_at<Elf64_Ehdr>(program(), 0);
  const auto table = read_at<Elf64_Shdr>(program(), sections(program(), SHT_SYMTAB).front());
  const std::pair<std::size_t, std::size_t> places[] = {{0, sizeof header},
                                                        {header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr)},
                                                        {header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr)},
                                                        {table.sh_offset, table.sh_size},
                                                        {0, program().size()}};
  int possible = 0;
  for (int round = 0; round < 3000; ++round) {
    Bytes b = program();
    for (auto n = 1 + random() % 3; n > 0; --n) {
      const auto [begin, bytes] = places[random() % std::size(places)];
      const std::size_t at = std::min(begin + random() % bytes, b.size() - sizeof(std::uint64_t));
      const std::uint64_t lie = kLies[random() % std::size(kLies)];
      std::memcpy(b.data() + at, &lie, std::size_t{1} << random() % 4);
    }
    const TakeoverPlan& plan = plan_of(b);
    possible += plan.answer == TakeoverAnswer::kPossible;
    require_sound(plan, b);
    require_sound(plan_of(b, EmbeddedAction::kObserve), b);
  }
  INFO(possible << " of 3000 damaged files can be taken over");
  CHECK(possible > 100);
  CHECK(possible < 2900);
}
