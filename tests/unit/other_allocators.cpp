// SPDX-License-Identifier: Apache-2.0
// Allocators beside the one that serves: who they are, what becomes of them, and what memory is theirs.
#include "report/facts/other_allocators.hpp"

#include <elf.h>

#include <filesystem>
#include <initializer_list>
#include <string>
#include <tuple>
#include <vector>

#include "base/options.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/outcome.hpp"
#include "report/facts/roles.hpp"
#include "tests/unit/made_up_mappings.hpp"
#include "tests/unit/tiny_elf.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::uintptr_t kPage = kPageBytes, kProgram = 0x10'0000'0000, kFirst = kProgram + 64 * kPage,
                         kSecond = kFirst + 64 * kPage, kOwn = kSecond + 64 * kPage,
                         kServer = kOwn + 64 * kPage, kLibc = kServer + 64 * kPage, kHeap = kLibc + 64 * kPage;

/// A process of a program and objects, of which each has the functions that it is said to have.
struct Loaded : Mapped {
  elf::Modules modules;
  Memory memory;
  std::vector<Region> all;
  Others others{};

  /// Its functions lie at 0x1100, 0x1200 and so on.
  void load(std::uintptr_t at, const std::string& path, std::initializer_list<const char*> functions,
            std::uint32_t table = SHT_DYNSYM) {
    static int inode = 1'000'000;  // answers are remembered by it
    object(at, std::to_string(++inode) + " " + path, 2);
    std::vector<TinyElf::Entry> entries;
    for (const char* f : functions) {
      const bool is_call = f[0] == '>';  // of another object's function
      entries.push_back({f + (is_call ? 1 : 0), 0x1100 + 0x100 * entries.size(), 0x100, STB_GLOBAL, STT_FUNC,
                         static_cast<std::uint16_t>(is_call ? SHN_UNDEF : 1)});
    }
    const TinyElf elf(entries, table);
    char name[64];
    snprintf(name, sizeof name, "map_files/%lx-%lx", static_cast<unsigned long>(at),
             static_cast<unsigned long>(at + 2 * kPage));
    std::filesystem::create_directories(folder.of_process() + "/map_files");
    folder.write(name, {elf.bytes.begin(), elf.bytes.end()});
  }
  Region& holds(std::size_t page, std::size_t pages, Owner owner, std::string_view name,
                std::string_view allocator = {}) {
    process.map(kHeap + page * kPage, pages * kPage);
    all.push_back({.begin = kHeap + page * kPage,
                   .end = kHeap + (page + pages + 1) * kPage,
                   .owner = owner,
                   .name = name,
                   .allocator = allocator});
    return all.back();
  }
  void find(std::span<BoundElsewhere> bound = {}) {
    const Elf64_auxv_t entries[] = {{AT_ENTRY, {kProgram + 0x1100}}, {AT_NULL, {0}}};
    folder.write("auxv", {reinterpret_cast<const char*>(entries), sizeof entries});
    folder.write("maps", maps);
    REQUIRE(modules.read(arena, process));
    served.backend = &backend;
    served.own_at = kOwn;
    served.backend_at = kServer;
    memory = {};
    memory.process = &process;
    memory.known = true;
    memory.regions.all = all;
    std::vector<ScanRange> ranges;
    for (const Region& r : all) ranges.emplace_back(r.begin, r.end);
    REQUIRE(memory.residency.scan(arena, process, ranges));
    find_other_allocators(arena, served, modules, memory, bound, &others);
  }
  const OtherAllocator& of(std::string_view name) const {
    for (const OtherAllocator& a : others.allocators)
      if (a.name == name) return a;
    FAIL("nobody is called " << std::string(name));
    return others.allocators[0];
  }
};

/// The same with mallard, which has something to say of what it could serve.
struct Preloaded : Loaded {
  Preloaded() {
    process.adopt_books();
    inside::set_takeover_outcome(inside::TakeoverOutcome{});
    backends::set_text(backend.name, sizeof backend.name, "tcmalloc");
  }
  ~Preloaded() { inside::set_takeover_outcome(inside::TakeoverOutcome{}); }
  void load_known() {
    load(kOwn, "/lib/libmallard.so.0", {"malloc", "mallocx"});
    load(kServer, "/lib/libtcmalloc.so.4", {"malloc", "tc_malloc"});
    load(kLibc, "/lib/libc.so.6", {"malloc", "sbrk"});
  }
};

constexpr std::string_view kRelink = "build it to use the system's malloc, so that mallard can serve it";

}  // namespace

TEST_CASE("other allocators: what an object carries is told by its symbols, and what could be done about it") {
  Preloaded p;
  p.load(kProgram, "/bin/program", {"PyObject_Malloc"});
  p.load(kFirst, "/lib/libjemalloc.so.2", {"mallocx", "malloc", ">sbrk"});
  p.load(kSecond, "/lib/libplugin.so", {"rpmalloc"});
  p.load_known();
  p.find();
  REQUIRE(p.others.allocators.size() == 3);
  const OtherAllocator& python = p.of("CPython's pymalloc");
  CHECK(python.object == "/bin/program");
  CHECK(python.is_managed);
  CHECK(python.next_step == "PYTHONMALLOC=malloc sends every object of Python's through malloc");
  CHECK(python.recognised_by == "symbol PyObject_Malloc");
  CHECK(!python.uses_brk);
  CHECK(!python.has_own_malloc);
  const OtherAllocator& jemalloc = p.of("jemalloc");
  CHECK(jemalloc.object == "/lib/libjemalloc.so.2");
  CHECK(jemalloc.status == OtherStatus::kReported);
  CHECK(jemalloc.has_own_malloc);
  CHECK(jemalloc.uses_brk);
  CHECK(jemalloc.why == "its malloc comes to mallard; calls by names of its own do not");
  CHECK(jemalloc.next_step == "without ALLOC_BACKEND it serves, behind mallard");
  const OtherAllocator& plugin = p.of("rpmalloc");
  CHECK(plugin.why == "ALLOC_EMBEDDED=redirect takes over what is in the executable, not what is in a library");
  CHECK(plugin.next_step == kRelink);
}

TEST_CASE("other allocators: what became of the one in the executable, as the take-over left it") {
  using inside::TakeoverState;
  for (const auto& [state, status, why, next] :
       {std::tuple(TakeoverState::kTakenOver, OtherStatus::kRedirected, "its calls come to mallard",
                   std::string_view()),
        {TakeoverState::kRefused, OtherStatus::kRefused, "a reason", kRelink},
        {TakeoverState::kNothingInside, OtherStatus::kRefused,
         "the executable has no entry point of it that mallard knows", kRelink},
        {TakeoverState::kNotAsked, OtherStatus::kReported,
         "ALLOC_EMBEDDED=redirect knows no entry point of it in the executable", kRelink}}) {
    CAPTURE(why);
    Preloaded p;
    p.load(kProgram, "/bin/program", {"rpmalloc"});
    inside::TakeoverOutcome outcome{state, "rpmalloc", 3, "a reason"};
    inside::set_takeover_outcome(outcome);
    p.find();
    REQUIRE(p.others.allocators.size() == 1);
    CHECK(p.others.allocators[0].status == status);
    CHECK(p.others.allocators[0].why == why);
    CHECK(p.others.allocators[0].next_step == next);
    CHECK(read_takeover().state == static_cast<Takeover::State>(state));
    CHECK(read_takeover().entry_points == 3);
    CHECK(read_takeover().why == "a reason");
    // A malloc that nobody knows is told only where it was taken over, or is in mallard's way.
    Preloaded unknown;
    unknown.load(kProgram, "/bin/program", {"malloc"});
    unknown.load(kFirst, "/lib/libx.so", {"malloc"});
    inside::set_takeover_outcome(outcome);
    unknown.find();
    CHECK(unknown.others.allocators.size() == (state == TakeoverState::kTakenOver ? 1 : 0));
  }
  Preloaded p;
  p.load(kFirst, "/lib/libfront.so", {"malloc"});
  p.served.bypassed = true;
  p.served.bypass_owner = "/lib/libfront.so";
  p.find();
  REQUIRE(p.others.allocators.size() == 1);
  CHECK(p.others.allocators[0].name == "a malloc of its own");
  CHECK(p.others.allocators[0].recognised_by == "symbol malloc");
}

TEST_CASE("other allocators: from outside the first allocator is none beside itself, and advice is not given") {
  Loaded l;
  l.load(kProgram, "/bin/program", {"rpmalloc"});
  l.load(kFirst, "/lib/libjemalloc.so.2", {"mallocx"});
  l.load(kSecond, "/lib/libplugin.so", {"mallocx"});
  backends::set_text(l.backend.name, sizeof l.backend.name, "jemalloc");
  backends::set_text(l.backend.path, sizeof l.backend.path, "/lib/libjemalloc.so.2");
  l.find();
  REQUIRE(l.others.allocators.size() == 2);
  CHECK(l.of("jemalloc").object == "/lib/libplugin.so");
  CHECK(l.of("jemalloc").next_step.empty());
  CHECK(l.of("jemalloc").why.empty());
  CHECK(l.of("rpmalloc").next_step == kRelink);  // that of the program itself
}

TEST_CASE("other allocators: memory is theirs by who mapped it, by its name, or as the only user of brk") {
  Preloaded p;
  p.load(kProgram, "/bin/program", {"rpmalloc", ">sbrk"});
  p.load(kFirst, "/lib/libtwo.so", {"mallocx", "hoard", "xxmalloc"});
  p.load_known();
  p.all.reserve(20);
  p.holds(0, 2, Owner::kAnonymous, "/bin/program").lazily_freed_bytes = kPage;
  p.holds(10, 4, Owner::kAnonymous, "").is_brk = true;
  p.holds(20, 8, Owner::kAnonymous, "/lib/libtwo.so", "Hoard");
  p.holds(30, 1, Owner::kAnonymous, "/lib/libtwo.so").mapper = 5;  // which of the two did is not known
  p.holds(40, 3, Owner::kAnonymous, "", "Scudo");
  p.holds(50, 5, Owner::kAnonymous, "", "Scudo").lazily_freed_bytes = 9 * kPage;
  p.holds(60, 6, Owner::kAnonymous, "", kGlibcMalloc);
  p.holds(70, 2, Owner::kAnonymous, "");
  p.holds(80, 1, Owner::kAnonymous, "").mapper = 5;
  p.holds(90, 1, Owner::kHeap, "", "Scudo");
  p.holds(94, 1, Owner::kStack, "");
  p.find();
  for (const auto& [name, resident, mapped, brk, lazy] :
       {std::tuple("rpmalloc", 6, 8, 4, 1), {"Hoard", 8, 9, 0, 0}, {"Scudo", 8, 10, 0, 5},
        {"glibc malloc", 6, 7, 0, 0}, {"jemalloc", 0, 0, 0, 0}}) {
    CAPTURE(name);
    const OtherAllocator& a = p.of(name);
    CHECK(a.resident_bytes == static_cast<std::uintptr_t>(resident) * kPage);
    CHECK(a.mapped_bytes == static_cast<std::uintptr_t>(mapped) * kPage);
    CHECK(a.brk_bytes == static_cast<std::uintptr_t>(brk) * kPage);
    CHECK(a.lazily_freed_bytes == static_cast<std::uintptr_t>(lazy) * kPage);
  }
  CHECK(p.others.nobody_saw_bytes == 2 * kPage);
  for (std::size_t i = 1; i < p.others.allocators.size(); ++i) {
    const OtherAllocator &a = p.others.allocators[i - 1], &b = p.others.allocators[i];
    CHECK(std::pair(b.resident_bytes, std::string(a.object)) <=
          std::pair(a.resident_bytes, std::string(b.object)));
  }
  CHECK(p.of("Scudo").object.empty());
  CHECK(p.of("Scudo").recognised_by == "names of its mappings");
  CHECK(p.of("Scudo").next_step == kRelink);
  CHECK(p.of("glibc malloc").object == "/lib/libc.so.6");
  CHECK(p.of("glibc malloc").recognised_by == "the form of its memory");
  CHECK(p.of("glibc malloc").next_step ==
        "see who is bound to it: an object loaded with RTLD_DEEPBIND, or by dlmopen");
  CHECK(p.of("glibc malloc").why.empty());

  BoundElsewhere bound[] = {{"/lib/libx.so", "/lib/other.so", 1, false}, {"/lib/liby.so", "/lib/libc.so.6", 2, false},
                            {"/lib/libz.so", "/lib/libc.so.6", 2, false}};
  p.find(bound);
  CHECK(p.others.bound.size() == 3);
  CHECK(p.of("glibc malloc").why == "liby.so is bound to it");
  CHECK(p.of("glibc malloc").next_step == "load it without RTLD_DEEPBIND, and not by dlmopen");
}

TEST_CASE("other allocators: where two call sbrk, nobody knows whose the memory at the break is") {
  Preloaded p;
  p.load(kProgram, "/bin/program", {"rpmalloc", ">sbrk"});
  p.load(kFirst, "/lib/libtwo.so", {"mallocx", ">brk"});
  p.holds(0, 4, Owner::kAnonymous, "").is_brk = true;
  p.find();
  CHECK(p.of("rpmalloc").resident_bytes == 0);
  CHECK(p.of("jemalloc").resident_bytes == 0);
  CHECK(p.others.nobody_saw_bytes == 4 * kPage);
}

TEST_CASE("other allocators: from outside, heaps of others than the first are told apart from it") {
  for (const auto& [first, others] : {std::pair("jemalloc", 3), {"system", 5}}) {
    Loaded l;
    backends::set_text(l.backend.name, sizeof l.backend.name, first);
    l.all.reserve(8);
    l.holds(0, 1, Owner::kHeap, "", "jemalloc");
    l.holds(10, 2, Owner::kHeap, "");
    l.holds(20, 3, Owner::kHeap, "", kGlibcMalloc);
    l.find();
    CAPTURE(first);
    REQUIRE(l.others.allocators.size() == 1);
    const bool is_glibc = l.others.allocators[0].name == kGlibcMalloc;
    CHECK(is_glibc == (others == 3));
    CHECK(l.others.allocators[0].resident_bytes == (is_glibc ? 3 : 1) * kPage);
    CHECK(l.others.allocators[0].next_step.empty());
    CHECK(l.others.allocators[0].object.empty());
  }
}

TEST_CASE("replaced: what would serve without mallard, in the order of loading as far as it is known") {
  const Options before = options();
  Options asked;
  backends::set_text(asked.backend, sizeof asked.backend, "tcmalloc");
  set_options(asked);
  const auto replaced = [](Preloaded& p) {
    p.find();
    return std::string(find_replaced(p.arena, p.served, p.modules, p.others));
  };
  Preloaded plain;
  plain.load_known();
  CHECK(replaced(plain) == "glibc");
  for (bool Served::* aside : {&Served::bypassed, &Served::stepped_aside}) {
    plain.served.*aside = true;
    CHECK(replaced(plain).empty());
    plain.served.*aside = false;
  }
  Preloaded system;
  system.load(kServer, "/lib/libc.so.6", {"malloc"});
  CHECK(replaced(system).empty());  // it serves
  Preloaded linked;
  linked.load(kFirst, "/lib/libjemalloc.so.2", {"malloc", "mallocx"});
  linked.load_known();
  CHECK(replaced(linked) == "jemalloc in libjemalloc.so.2");
  Preloaded unknown;
  unknown.load(kFirst, "/lib/libfast.so.2", {"malloc"});
  unknown.load_known();
  CHECK(replaced(unknown) == "the malloc of libfast.so.2");
  Preloaded taken;
  taken.load(kProgram, "/bin/program", {"rpmalloc"});
  taken.load_known();
  inside::set_takeover_outcome(inside::TakeoverOutcome{inside::TakeoverState::kTakenOver, "rpmalloc", 3, ""});
  CHECK(replaced(taken) == "rpmalloc inside program");
  set_options(Options{});  // what comes next serves
  Preloaded next;
  next.load_known();
  CHECK(replaced(next).empty());
  set_options(before);
}

TEST_CASE("roles: an address tells whose object is mallard's, the server's and the program's") {
  Preloaded p;
  p.load(kProgram, "/bin/program", {});
  p.load(kFirst, "/lib/ld-linux-x86-64.so.2", {"malloc", "rpmalloc"});
  p.load_known();
  p.find();
  const auto at = [&p](std::uintptr_t address) -> const elf::Module& {
    const elf::Module* m = module_at(p.modules, address);
    REQUIRE(m);
    return *m;
  };
  CHECK(module_at(p.modules, kProgram + 4 * kPage) == nullptr);
  CHECK(at(kProgram + 4 * kPage - 1).path == "/bin/program");
  for (const auto& [address, own, server, libc, program, known] :
       {std::tuple(kProgram, false, false, false, true, false), {kFirst, false, false, false, false, true},
        {kOwn, true, false, false, false, true}, {kServer, false, true, false, false, true},
        {kLibc, false, false, true, false, true}}) {
    CAPTURE(at(address).path);
    CHECK(is_own_module(p.process, p.served, at(address)) == own);
    CHECK(is_backend_module(p.process, p.served, at(address)) == server);
    CHECK(is_libc_module(p.process, at(address)) == libc);
    CHECK(is_program_module(p.process, at(address)) == program);
    CHECK(is_known_module(p.process, p.served, at(address)) == known);
  }
  p.served.bypassed = true;
  CHECK(!is_known_module(p.process, p.served, at(kServer)));
  CHECK(p.others.allocators.empty());
}

TEST_CASE("mapper: memory is that of the allocator in the object that mapped it, or of the function's of two") {
  Preloaded p;
  p.load(kProgram, "/bin/program", {"rpmalloc", "std_stack_overflow_handler"});
  p.load(kFirst, "/lib/libtwo.so", {"je_malloc", "rpmalloc", "neither"});
  p.load(kSecond, "/lib/libnone.so", {"f"});
  p.find();
  struct Row {
    std::uintptr_t mapper;
    Owner owner;
    std::string_view had, allocator;
  };
  const Row rows[] = {
      {kProgram + 0x1110, Owner::kAnonymous, "", "rpmalloc"},
      {kProgram + 0x1900, Owner::kAnonymous, "", "rpmalloc"},
      {kProgram + 0x1210, Owner::kStack, "", ""},  // Rust's, for overflows of others
      {kFirst + 0x1110, Owner::kAnonymous, "", "jemalloc"},
      {kFirst + 0x1210, Owner::kAnonymous, "", "rpmalloc"},
      {kFirst + 0x1310, Owner::kAnonymous, "", ""},
      {kFirst + 0x1210, Owner::kAnonymous, "Scudo", "Scudo"},  // its mapping says so
      {kFirst + 0x1210, Owner::kHeap, "", ""},
      {kSecond + 0x1110, Owner::kAnonymous, "", ""},
      {0x5000, Owner::kAnonymous, "", ""},
      {0, Owner::kAnonymous, "", ""},
  };
  std::vector<Region> all;
  for (const Row& row : rows) {
    Region r{};
    r.owner = row.owner == Owner::kStack ? Owner::kAnonymous : row.owner;
    r.mapper = row.mapper;
    r.allocator = row.had;
    r.name = "whoever";
    all.push_back(r);
  }
  Regions regions{};
  regions.all = all;
  regions.modules = p.modules;
  recognise_allocators(p.arena, &regions);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(i);
    CHECK(all[i].owner == rows[i].owner);
    CHECK(all[i].allocator == rows[i].allocator);
    CHECK(all[i].name == (rows[i].owner == Owner::kStack ? "" : "whoever"));
  }
}

TEST_CASE("bound elsewhere: who calls another malloc than mallard's, as the loader bound it in this process") {
  Arena arena;
  elf::Modules modules;
  REQUIRE(modules.read(arena));
  backends::Backend backend;
  backend.object = elf::libc_object();
  Served served{};
  served.backend = &backend;
  const std::string libc = elf::libc_object()->l_name;
  const std::string own = std::filesystem::read_symlink("/proc/self/exe");
  const auto file = [](std::string_view path) { return std::string(file_name_of(path)); };
  const std::span<BoundElsewhere> found = find_bound_elsewhere(arena, served, modules);
  int of_libstdcpp = 0;
  for (const BoundElsewhere& b : found) {
    CAPTURE(b.object, b.bound_to);
    CHECK(b.references > 0);
    CHECK(b.to_server == (file(b.bound_to) == file(libc)));
    // This program is mallard here; the loader and the server are not asked.
    CHECK(b.object != own);
    CHECK(file(b.object) != file(libc));
    CHECK(b.bound_to != own);
    of_libstdcpp += file(b.object).starts_with("libstdc++") && file(b.bound_to) == file(libc);
  }
  CHECK(of_libstdcpp == 1);  // once, however many of its functions are bound
  backend.object = nullptr;
  for (const BoundElsewhere& b : find_bound_elsewhere(arena, served, modules)) CHECK(!b.to_server);
  served.bypassed = true;
  CHECK(find_bound_elsewhere(arena, served, modules).empty());
}
