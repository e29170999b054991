// SPDX-License-Identifier: Apache-2.0
// Modules and names of this very process, of stripped files, and of files that lie.
#include "symbols/elf_symbols.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/catch.hpp"
#include "tests/unit/tiny_elf.hpp"

using namespace mallard;

namespace {

__attribute__((noinline)) int local_function(int x) { return x * 3 + 1; }

std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

template <class Function>
std::uintptr_t code(Function* f) {
  return reinterpret_cast<std::uintptr_t>(f);
}

symbols::Symbol at(std::uintptr_t pc) { return symbols::Symbol{pc, 0, 0, {}, 0}; }

std::vector<symbols::Symbol> names(Arena& arena, const elf::Modules& modules,
                                   std::vector<std::uintptr_t> pcs) {
  std::vector<symbols::Symbol> symbols;
  for (std::uintptr_t pc : pcs) symbols.push_back(at(pc));
  const auto found = symbols::symbolize(arena, modules, symbols);
  return {found.begin(), found.end()};
}

std::vector<unsigned char> file_bytes(const char* path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A file that vanishes with the test.
struct TempFile {
  explicit TempFile(const std::string& content) {
    const int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    REQUIRE(write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    ::close(fd);
  }
  ~TempFile() { unlink(path); }
  char path[32] = "/tmp/mallard.unit.XXXXXX";
};

/// Name and offset of each return address (called instruction + 1).
std::vector<std::string> names_in(const TinyElf& elf, std::vector<std::uint64_t> pcs) {
  Arena arena;
  elf::Image image;
  image.use_memory(elf.bytes.data(), elf.bytes.size());
  std::vector<symbols::Symbol> symbols;
  for (std::uint64_t pc : pcs) symbols.push_back(at(pc));
  symbols::name_symbols(arena, image, 0, symbols);
  std::vector<std::string> out;
  for (const symbols::Symbol& s : symbols)
    out.push_back(s.name.empty() ? "" : std::string(s.name) + "+" + std::to_string(s.offset));
  return out;
}

}  // namespace

TEST_CASE("modules: the executable, libc and the vdso are found with the loader's own bias") {
  Arena arena;
  elf::Modules modules;
  errno = 77;
  REQUIRE(modules.read(arena));
  CHECK(errno == 77);
  int checked = 0;
  struct Context {
    const elf::Modules* modules;
    int* checked;
  } context{&modules, &checked};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* to) {
        const auto* c = static_cast<Context*>(to);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const Elf64_Phdr& p = info->dlpi_phdr[i];
          if (p.p_type != PT_LOAD || !(p.p_flags & PF_X)) continue;
          const int index = c->modules->find(info->dlpi_addr + p.p_vaddr + p.p_memsz / 2);
          REQUIRE(index >= 0);
          const elf::Module& m = c->modules->all()[static_cast<std::size_t>(index)];
          CHECK(m.load_bias == info->dlpi_addr);
          CHECK(m.begin <= info->dlpi_addr + p.p_vaddr);
          CHECK_FALSE(m.deleted);
          CHECK(m.kind == (m.path == "[vdso]" ? elf::ModuleKind::kVdso : elf::ModuleKind::kElf));
          ++*c->checked;
        }
        return 0;
      },
      &context);
  CHECK(checked >= 3);
  CHECK(modules.find(0) == -1);
  CHECK(modules.find(address(&arena)) == -1);
  CHECK(modules.find(~std::uintptr_t{0}) == -1);
}

TEST_CASE("modules: build-ids are those of the files") {
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  int with_id = 0;
  for (const elf::Module& m : modules.all()) {
    if (m.kind != elf::ModuleKind::kElf || m.build_id.empty()) continue;
    elf::Image image;
    REQUIRE(elf::open_module(m, arena, &image));
    REQUIRE(image.parse() == elf::Fault::kNone);
    CHECK(image.read_build_id(arena) == m.build_id);
    CHECK(m.build_id.size() >= 16);
    ++with_id;
  }
  CHECK(with_id >= 1);  // Debian's libc has one
}

TEST_CASE("modules: anonymous code, deleted files and odd paths have names") {
  void* jit = mmap(nullptr, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(jit != MAP_FAILED);
  char name[] = "/tmp/mallard unit\nXXXXXX";
  const int fd = mkstemp(name);
  REQUIRE(fd >= 0);
  REQUIRE(ftruncate(fd, 8192) == 0);
  void* file = mmap(nullptr, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  REQUIRE(file != MAP_FAILED);
  for (bool deleted : {false, true}) {
    if (deleted) unlink(name);
    Arena arena;
    elf::Modules modules;
    REQUIRE(modules.read(arena));
    const int index = modules.find(address(file) + 4100);
    REQUIRE(index >= 0);
    const elf::Module& m = modules.all()[static_cast<std::size_t>(index)];
    CHECK(m.path == name);
    CHECK(m.deleted == deleted);
    CHECK(m.kind == elf::ModuleKind::kOtherFile);
    CHECK(address(file) + 4100 - m.load_bias == 4100);
    const int anonymous = modules.find(address(jit) + 1);
    REQUIRE(anonymous >= 0);
    CHECK(modules.all()[static_cast<std::size_t>(anonymous)].path == "[anonymous code]");
    const auto found = names(arena, modules, {address(jit) + 17});
    CHECK(found.at(0).address == address(jit) + 17);
    CHECK(found.at(0).name.empty());
  }
  munmap(file, 8192);
  munmap(jit, 8192);
  ::close(fd);
}

TEST_CASE("modules: a view of part of an object is what is mapped, and no loaded object") {
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  const std::uintptr_t function = code(&local_function);
  const int found = modules.find(function);
  REQUIRE(found >= 0);
  const elf::Module loaded = modules.all()[static_cast<std::size_t>(found)];
  REQUIRE(loaded.segments.size() >= 2);
  CHECK(loaded.segments.front().begin == loaded.span_begin);
  CHECK(loaded.segments.back().end == loaded.span_end);
  elf::Mapping text{};
  text.end = function;
  elf::for_each_mapping(
      arena, "/proc/self/maps",
      [](const elf::Mapping& m, void* to) noexcept {
        auto* its = static_cast<elf::Mapping*>(to);
        if (m.begin <= its->end && its->end < m.end && its->inode == 0) *its = m;
      },
      &text);
  const std::uintptr_t page = function & ~std::uintptr_t{kPageBytes - 1};
  const int fd = open("/proc/self/exe", O_RDONLY);
  REQUIRE(fd >= 0);
  constexpr std::size_t kRoom = 64u << 20;
  // A view of one page of code, and then the file's first page as data, each with generated code behind it.
  for (const bool is_code : {true, false}) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* room = mmap(nullptr, kRoom, PROT_READ | PROT_EXEC, flags, -1, 0);
    REQUIRE(room != MAP_FAILED);
    const auto offset = static_cast<off_t>(is_code ? text.offset + (page - text.begin) : 0);
    const int rights = is_code ? PROT_READ | PROT_EXEC : PROT_READ;
    REQUIRE(mmap(room, kPageBytes, rights, MAP_PRIVATE | MAP_FIXED, fd, offset) == room);
    REQUIRE(modules.read(arena));
    const int generated = modules.find(address(room) + kPageBytes);
    REQUIRE(generated >= 0);
    CHECK(modules.all()[static_cast<std::size_t>(generated)].kind == elf::ModuleKind::kAnonymous);
    const int view = modules.find(address(room));
    CHECK((view >= 0) == is_code);
    if (view >= 0) {
      const elf::Module& m = modules.all()[static_cast<std::size_t>(view)];
      CHECK(m.kind == elf::ModuleKind::kElf);
      CHECK((m.span_begin == address(room) && m.span_end == address(room) + kPageBytes));
      CHECK(m.segments.empty());
      CHECK(address(room) - m.load_bias == page - loaded.load_bias);
    }
    munmap(room, kRoom);
  }
  ::close(fd);
}

TEST_CASE("modules: malformed, overlong and missing maps") {
  std::string text =
      "nonsense\n1-\n10-5 r-xp 0 0:0 0\n\n1000-2000 r-xp 00000000 08:01 99                   /a ";
  text += std::string(200'000, 'x') + "\n3000-4000 r-xp 00001000 00:00 0 \n5000-6000 r-x";
  TempFile file(text);
  Arena arena;
  elf::Modules modules;
  CHECK(modules.read_from(arena, file.path));
  REQUIRE(modules.all().size() == 2);
  CHECK(modules.find(0x1800) == 0);
  CHECK(modules.find(0x2800) == -1);
  CHECK(modules.find(0x3800) == 1);
  CHECK(modules.find(0x5800) == -1);
  CHECK(modules.all()[0].path.starts_with("/a xxx"));
  elf::Modules none;
  CHECK_FALSE(none.read_from(arena, "/nonexistent/maps"));
  CHECK(none.find(0x1800) == -1);
}

TEST_CASE("modules: a small arena ends the reading, not the process") {
  for (std::size_t limit : {std::size_t{0}, std::size_t{1} << 12, Arena::kChunkBytes}) {
    Arena arena(limit);
    elf::Modules modules;
    modules.read(arena);
    std::vector<symbols::Symbol> symbols(20000, at(code(&local_function) + 1));
    for (std::size_t i = 0; i < symbols.size(); ++i) symbols[i].pc += i;
    CHECK(symbols::symbolize(arena, modules, symbols).size() == symbols.size());
  }
}

TEST_CASE("symbols: functions of this program, of libc and of the vdso") {
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  const std::uintptr_t getpid_at = address(dlsym(RTLD_DEFAULT, "getppid"));
  const auto vdso = getauxval(AT_SYSINFO_EHDR);
  errno = 77;
  const auto found =
      names(arena, modules, {code(&local_function) + 2, getpid_at + 1, code(&local_function) + 2, 7});
  CHECK(errno == 77);
  REQUIRE(found.size() == 3);  // one was there twice
  const symbols::Symbol* own = symbols::find_symbol_of(found, code(&local_function) + 2);
  REQUIRE(own);
  CHECK((own->name == "_ZN12_GLOBAL__N_114local_functionEi" || own->name == "_ZN12_GLOBAL__N_1L14local_functionEi"));
  CHECK(own->offset == 2);
  CHECK(own->address + modules.all()[static_cast<std::size_t>(own->module)].load_bias == own->pc);
  const symbols::Symbol* libc = symbols::find_symbol_of(found, getpid_at + 1);
  REQUIRE(libc);
  CHECK(libc->name == "getppid");
  CHECK(modules.all()[static_cast<std::size_t>(libc->module)].path.find("libc") != std::string_view::npos);
  const symbols::Symbol* nowhere = symbols::find_symbol_of(found, 7);
  REQUIRE(nowhere);
  CHECK(nowhere->module == -1);
  CHECK(nowhere->address == 7);
  CHECK(symbols::find_symbol_of(found, 8) == nullptr);
  REQUIRE(vdso != 0);
  std::vector<std::uintptr_t> all;
  for (std::uintptr_t pc = vdso + 0x400; pc < vdso + 0x1400; ++pc) all.push_back(pc);
  const auto in_vdso = names(arena, modules, all);
  CHECK(std::any_of(in_vdso.begin(), in_vdso.end(),
                    [](const symbols::Symbol& s) { return s.name == "__vdso_clock_gettime"; }));
  CHECK(local_function(1) == 4);
}

TEST_CASE("symbols: names agree with dladdr all over libc") {
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  const auto& libc =
      modules.all()[static_cast<std::size_t>(modules.find(address(dlsym(RTLD_DEFAULT, "getppid"))))];
  std::vector<std::uintptr_t> pcs;
  for (std::uintptr_t pc = libc.begin; pc < libc.end; pc += 97) pcs.push_back(pc);
  int named = 0, differ = 0;
  for (const symbols::Symbol& s : names(arena, modules, pcs)) {
    if (s.name.empty()) continue;
    ++named;
    Dl_info known;
    // Aliases have other names, but they start where we say.
    if (dladdr(reinterpret_cast<void*>(s.pc - 1), &known) && known.dli_saddr &&
        address(known.dli_saddr) != s.pc - s.offset)
      ++differ;
  }
  CHECK(named > 1000);
  CHECK(differ * 20 < named);
}

TEST_CASE("symbols: sizes are respected") {
  TinyElf elf({{"f", 0x1100, 0x10}, {"g", 0x1200, 0x20}});
  CHECK(names_in(elf, {0x1100, 0x1101, 0x1110, 0x1111, 0x1201, 0x1220, 0x1221}) ==
        std::vector<std::string>{"", "f+1", "f+16", "", "g+1", "g+32", ""});
}

TEST_CASE("symbols: a label without a size reaches to the next function or the section's end") {
  TinyElf elf({{"label", 0x1010, 0, STB_GLOBAL, STT_NOTYPE},
               {"f", 0x1100, 0x10},
               {"other", 0x2000, 0, STB_LOCAL, STT_NOTYPE, 2},
               {"data", 0x1080, 0, STB_GLOBAL, STT_OBJECT},
               {"absolute", 0x1090, 0, STB_GLOBAL, STT_NOTYPE, SHN_ABS}});
  CHECK(names_in(elf, {0x1010, 0x1011, 0x10ff, 0x1105, 0x1200, 0x2001, 0x3000, 0x3001}) ==
        std::vector<std::string>{"", "label+1", "label+239", "f+5", "", "other+1", "other+4096", ""});
}

TEST_CASE("symbols: of several names, the one that people know") {
  using E = TinyElf::Entry;
  const auto winner = [](std::vector<E> entries) {
    auto name = names_in(TinyElf(entries), {0x1105}).at(0);
    std::reverse(entries.begin(), entries.end());
    CHECK(names_in(TinyElf(entries), {0x1105}).at(0) == name);
    return name;
  };
  CHECK(winner({E{"local", 0x1100, 16, STB_LOCAL}, E{"global", 0x1100, 16},
                E{"weak", 0x1100, 16, STB_WEAK}}) == "global+5");
  CHECK(winner({E{"__f", 0x1100, 16}, E{"f", 0x1100, 16}, E{"_f", 0x1100, 16}}) == "f+5");
  CHECK(winner({E{"f.localalias", 0x1100, 16, STB_LOCAL}, E{"f", 0x1100, 16, STB_WEAK}}) == "f+5");
  CHECK(winner({E{"__GI___f", 0x1100, 16, STB_LOCAL}, E{"f", 0x1100, 16, STB_WEAK},
                E{"__f", 0x1100, 16, STB_LOCAL}}) == "f+5");
  CHECK(winner({E{"__GI_f", 0x1100, 16}, E{"f_of_libc", 0x1100, 16, STB_LOCAL}}) == "f_of_libc+5");
  CHECK(winner({E{"_loop0_103_rule", 0x1100, 16, STB_LOCAL}, E{"_loop0_95_rule", 0x1100, 16, STB_LOCAL}}) ==
        "_loop0_95_rule+5");
  CHECK(winner({E{"_ZN1a1fEv", 0x1100, 16}, E{"f", 0x1100, 16, STB_WEAK}}) == "_ZN1a1fEv+5");
  CHECK(winner({E{"outer", 0x1000, 0x200}, E{"inner", 0x1100, 16, STB_LOCAL}}) == "inner+5");
  CHECK(winner({E{"f@@VERSION_1", 0x1100, 16}}) == "f+5");
  CHECK(winner({E{"f@VERSION_1", 0x1100, 16}, E{"section", 0x1100, 16, STB_LOCAL, STT_SECTION}}) == "f+5");
}

TEST_CASE("symbols: a file that is not the mapped one is not used") {
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  elf::Module m =
      modules.all()[static_cast<std::size_t>(modules.find(address(dlsym(RTLD_DEFAULT, "getppid"))))];
  m.map_begin = 1;  // no such link in map_files
  m.map_end = 2;
  elf::Image image;
  CHECK(elf::open_module(m, arena, &image));  // by inode
  m.inode += 1;
  CHECK(elf::open_module(m, arena, &image));  // by build-id
  m.build_id = "00";
  CHECK_FALSE(elf::open_module(m, arena, &image));
  m.path = "/tmp";
  CHECK_FALSE(elf::open_module(m, arena, &image));
}

TEST_CASE("symbols: stripped and foreign files give no names and no harm") {
  TinyElf elf({{"f", 0x1100, 0x10}});
  for (std::size_t length = 0; length < elf.bytes.size(); ++length) {
    TinyElf cut = elf;
    cut.bytes.resize(length);
    cut.bytes.shrink_to_fit();  // ASan sees reads behind the end
    CHECK(names_in(cut, {0x1105}).at(0).empty());
  }
  TinyElf stripped = elf;
  std::memset(stripped.bytes.data() + offsetof(Elf64_Ehdr, e_shoff), 0, 8);
  CHECK(names_in(stripped, {0x1105}).at(0).empty());
  TinyElf narrow = elf;
  narrow.bytes[EI_CLASS] = ELFCLASS32;
  CHECK(names_in(narrow, {0x1105}).at(0).empty());
  CHECK(names_in(elf, {0x1105}).at(0) == "f+5");
}

TEST_CASE("symbols: 2000 damaged copies of real files") {
  std::mt19937 generator(4711);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(generator()) % n; };
  for (const auto& original :
       {file_bytes("/proc/self/exe"), TinyElf({{"f", 0x1100, 0x10}, {"g", 0x1200, 0}}).bytes}) {
    REQUIRE(original.size() > sizeof(Elf64_Ehdr));
    Elf64_Ehdr h;
    std::memcpy(&h, original.data(), sizeof h);
    // The parts that steer the reading: all of a small file; of a large one header, segments and sections.
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < std::min<std::size_t>(original.size(), 1000); ++i) places.push_back(i);
    for (std::size_t i = h.e_shoff; i < std::min(original.size(), h.e_shoff + h.e_shnum * sizeof(Elf64_Shdr));
         ++i)
      places.push_back(i);
    auto bytes = original;
    for (int round = 0; round < 1000; ++round) {
      std::vector<std::size_t> touched;
      for (std::size_t n = 1 + below(4); n > 0; --n) touched.push_back(places[below(places.size())]);
      for (std::size_t place : touched)
        bytes[place] = static_cast<unsigned char>(below(4) ? below(256) : 0xff);
      Arena arena;
      elf::Image image;
      image.use_memory(bytes.data(), bytes.size());
      std::vector<symbols::Symbol> symbols;
      for (std::uintptr_t pc = 0x1000; pc < 0x3000; pc += 333) symbols.push_back(at(pc));
      symbols::name_symbols(arena, image, 0, symbols);
      for (const elf::Form form : {elf::Form::kFile, elf::Form::kLoaded}) {
        image.use_memory(bytes.data(), bytes.size(), form);
        if (image.parse() != elf::Fault::kNone) continue;
        image.read_build_id(arena);
        image.read_dynamic();
        for (const std::uint32_t type : {SHT_SYMTAB, SHT_DYNSYM})
          if (elf::SymbolTable table; image.find_symbols(type, &table)) image.read_names(table, arena);
      }
      for (std::size_t place : touched) bytes[place] = original[place];
    }
  }
}
