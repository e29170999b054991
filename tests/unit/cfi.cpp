// SPDX-License-Identifier: Apache-2.0
// Our interpreter of call frame information against libunwind, on objects of this machine: where ours gives
// an answer, it has to be libunwind's. The objects are mapped as files, neither loaded nor run.
#include "unwind/cfi.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "unwind/unwinder.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard::unwind;

namespace {

/// An object in memory as the loader would map it, without relocations.
class Mapped {
 public:
  explicit Mapped(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    ElfW(Ehdr) header{};
    if (pread(fd, &header, sizeof header, 0) == sizeof header && header.e_machine == EM_X86_64)
      map(fd, header);
    close(fd);
  }
  ~Mapped() {
    if (memory_) munmap(memory_, bytes_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  Module module{};

 private:
  void map(int fd, const ElfW(Ehdr) & header) {
    std::vector<ElfW(Phdr)> segments(header.e_phnum);
    const std::size_t size = segments.size() * sizeof(ElfW(Phdr));
    REQUIRE(pread(fd, segments.data(), size, static_cast<off_t>(header.e_phoff)) ==
            static_cast<ssize_t>(size));
    constexpr std::uintptr_t kInPage = 4095;
    std::uintptr_t low = ~std::uintptr_t{0}, high = 0;
    for (const auto& s : segments) {
      if (s.p_type != PT_LOAD) continue;
      low = std::min(low, s.p_vaddr & ~kInPage);
      high = std::max(high, s.p_vaddr + s.p_memsz);
    }
    bytes_ = high - low;
    memory_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory_ != MAP_FAILED);
    const std::uintptr_t bias = reinterpret_cast<std::uintptr_t>(memory_) - low;
    module = {bias + low, bias + high, 0};
    for (const auto& s : segments) {
      if (s.p_type == PT_GNU_EH_FRAME) module.table = bias + s.p_vaddr;
      if (s.p_type != PT_LOAD || s.p_filesz == 0) continue;
      const std::uintptr_t lead = s.p_vaddr & kInPage;
      REQUIRE(mmap(reinterpret_cast<void*>(bias + s.p_vaddr - lead), s.p_filesz + lead, PROT_READ,
                   MAP_PRIVATE | MAP_FIXED, fd, static_cast<off_t>(s.p_offset - lead)) != MAP_FAILED);
    }
  }

  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

template <typename T>
T read(std::uintptr_t* at) {
  T value;
  std::memcpy(&value, reinterpret_cast<const void*>(*at), sizeof value);
  *at += sizeof value;
  return value;
}
std::uint64_t read_leb(std::uintptr_t* at) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = read<std::uint8_t>(at);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

/// One function of an object's table.
struct Frame {
  std::uintptr_t start = 0, end = 0, instructions = 0, instructions_end = 0;

  explicit Frame(std::uintptr_t fde) {
    std::uintptr_t at = fde;
    const auto bytes = read<std::uint32_t>(&at);
    instructions_end = at + bytes;
    at += 4;
    start = at;
    start += static_cast<std::uintptr_t>(std::intptr_t{read<std::int32_t>(&at)});
    end = start + read<std::uint32_t>(&at);
    const std::uint64_t augmentation = read_leb(&at);
    instructions = at + augmentation;
  }

  /// Where rows begin. Operands are told apart by their sizes alone.
  std::vector<std::uintptr_t> rows() const {
    std::vector<std::uintptr_t> found;
    std::uintptr_t location = start, at = instructions;
    while (at < instructions_end) {
      const auto op = read<std::uint8_t>(&at);
      std::uint64_t advance = 0;
      if (op >> 6 == 1) advance = op & 0x3f;
      else if (op == 2) advance = read<std::uint8_t>(&at);
      else if (op == 3) advance = read<std::uint16_t>(&at);
      else if (op == 4) advance = read<std::uint32_t>(&at);
      else if (op == 0x10 || op == 0x16) read_leb(&at);
      if (advance) found.push_back(location += advance);
      const std::string_view one = "\x06\x07\x08\x0d\x0e\x13\x2e", two = "\x05\x09\x0c\x11\x12\x14\x15";
      const bool is_two = two.find(static_cast<char>(op)) != two.npos;
      if (op >> 6 == 2 || is_two || one.find(static_cast<char>(op)) != one.npos) read_leb(&at);
      if (is_two) read_leb(&at);
      if (op == 0x0f || op == 0x10 || op == 0x16) {
        const std::uint64_t block = read_leb(&at);
        at += block;
      }
    }
    return found;
  }
};

std::string text(const Rule& rule) {
  char buffer[80];
  std::snprintf(buffer, sizeof buffer, "kind %d, CFA %d, %s rbp %d", static_cast<int>(rule.kind),
                rule.cfa_offset, rule.saves_frame ? "saved" : "kept", rule.frame_offset);
  return buffer;
}

struct Tally {
  std::size_t functions = 0, asked = 0, known = 0, different = 0, by_kind[8] = {};

  void ask(const Module& module, std::uintptr_t code) {
    Rule theirs, ours;
    REQUIRE(rule_by_libunwind(code, module, &theirs));
    ++asked;
    if (!rule_from_cfi(code, module.table, find_segment(module, module.table), &ours)) return;
    ++known;
    ++by_kind[static_cast<int>(theirs.kind)];
    if (ours.kind == theirs.kind && ours.saves_frame == theirs.saves_frame &&
        ours.cfa_offset == theirs.cfa_offset && ours.frame_offset == theirs.frame_offset)
      return;
    if (++different <= 5)
      std::printf("  at +%#lx: ours %s; libunwind's %s\n", static_cast<unsigned long>(code - module.start),
                  text(ours).c_str(), text(theirs).c_str());
  }
};

constexpr std::size_t kAll = ~std::size_t{0};

/// \param most  addresses asked for at most, or nearly so; then of each function some 30 rows, evenly drawn
Tally compare(const Module& module, std::size_t most) {
  Tally tally;
  std::uintptr_t at = module.table + 8;
  const auto count = read<std::uint32_t>(&at);
  std::vector<std::uint32_t> order(count);
  for (std::uint32_t i = 0; i < count; ++i) order[i] = i;
  std::mt19937_64 random(count);
  if (count > most / 8) std::shuffle(order.begin(), order.end(), random);
  for (const std::uint32_t i : order) {
    if (tally.asked >= most) break;
    std::uintptr_t entry = at + 8 * std::uintptr_t{i} + 4;
    const Frame frame(module.table + static_cast<std::uintptr_t>(std::intptr_t{read<std::int32_t>(&entry)}));
    ++tally.functions;
    for (const std::uintptr_t code : {frame.start - 1, frame.start, frame.end - 1, frame.end})
      tally.ask(module, code);
    const auto rows = frame.rows();
    const std::size_t step = most == kAll ? 1 : rows.size() / 30 + 1;
    for (std::size_t r = 0; r < rows.size(); r += step)
      for (int by = -1; by <= 1; ++by) tally.ask(module, rows[r] + static_cast<std::uintptr_t>(by));
    if (frame.end > frame.start) tally.ask(module, frame.start + random() % (frame.end - frame.start));
  }
  return tally;
}

/// Objects by path, or by name in the folders of libraries. Those that are not there are left out.
std::vector<std::string> objects() {
  std::vector<std::string> found;
  for (const char* name :
       {"/proc/self/exe", TEST_LIBMALLARD, TEST_COMPILER, "/usr/bin/python3", "/usr/bin/node",
        "/usr/bin/redis-server", "/usr/lib/postgresql/15/bin/postgres", "libc.so.6", "ld-linux-x86-64.so.2",
        "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libcrypto.so.3", "libsqlite3.so.0",
        "libLLVM-14.so.1", "libclang-cpp.so.14", "libjemalloc.so.2", "librocksdb.so.7.8"})
    for (const char* folder :
         {"/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64"}) {
      const std::string path = *name == '/' ? name : std::string(folder) + '/' + name;
      if (!std::filesystem::exists(path)) continue;
      found.push_back(std::filesystem::canonical(path));
      break;
    }
  return found;
}

volatile char g_sink;
/// Of a function that realigns its stack and takes from it, gcc keeps the CFA in a slot of the frame.
__attribute__((noinline, noclone)) void realigns(std::size_t n) {
  alignas(64) volatile char space[128];
  auto* more = static_cast<volatile char*>(__builtin_alloca(n));
  space[0] = 1;
  more[0] = space[0];
  g_sink = more[0];
}

void compare_all(std::size_t most) {
  REQUIRE(unwinder_init());
  realigns(16);
  Tally all;
  int compared = 0;
  for (const std::string& path : objects()) {
    const Mapped object(path);
    if (!object.module.table) {
      std::printf("%s: no table\n", path.c_str());
      continue;
    }
    // Of this program, the first, all: it has a function of each kind.
    const Tally t = compare(object.module, compared == 0 ? kAll : most);
    std::printf("%-60s %7zu functions, %8zu addresses: %8zu known, %zu different\n", path.c_str(),
                t.functions, t.asked, t.known, t.different);
    CHECK(t.different == 0);
    CHECK(t.known > t.asked * 95 / 100);  // of libcrypto's assembly the most is left to libunwind
    ++compared;
    all.asked += t.asked;
    all.known += t.known;
    for (int i = 0; i < 8; ++i) all.by_kind[i] += t.by_kind[i];
  }
  std::printf("%d objects: %zu of %zu known (%.3f %%), as rules", compared, all.known, all.asked,
              100.0 * static_cast<double>(all.known) / static_cast<double>(all.asked));
  for (const std::size_t n : all.by_kind) std::printf(" %zu", n);
  std::printf("\n");
  CHECK(all.known > all.asked * 99 / 100);
  CHECK(compared >= 5);
  for (const RuleKind kind :
       {RuleKind::kFromSp, RuleKind::kFromFrame, RuleKind::kFromFrameSlot, RuleKind::kEnd, RuleKind::kNoInfo})
    CHECK(all.by_kind[static_cast<int>(kind)] > 0);
}

}  // namespace

TEST_CASE("cfi: answers are libunwind's, in a sample of every object") { compare_all(40'000); }
TEST_CASE("cfi: answers are libunwind's, in every function of every object", "[.every]") {
  compare_all(kAll);
}

TEST_CASE("cfi: time of an answer", "[.bench]") {
  REQUIRE(unwinder_init());
  const Mapped object(TEST_COMPILER);
  std::uintptr_t at = object.module.table + 8;
  const auto count = read<std::uint32_t>(&at);
  std::mt19937_64 random(1);
  std::vector<std::uintptr_t> codes(20'000);
  for (auto& code : codes) {
    std::uintptr_t entry = at + 8 * (random() % count) + 4;
    const Frame frame(object.module.table +
                      static_cast<std::uintptr_t>(std::intptr_t{read<std::int32_t>(&entry)}));
    code = frame.start + random() % (frame.end - frame.start);
  }
  const auto time = [&codes](const char* who, auto ask) {
    double best = 1e9;
    for (int round = 0; round < 5; ++round) {
      const auto begin = std::chrono::steady_clock::now();
      for (const std::uintptr_t code : codes) ask(code);
      const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
      best = std::min(best, taken.count() / static_cast<double>(codes.size()));
    }
    std::printf("%s: %.0f ns\n", who, best);
  };
  Rule rule;
  time("libunwind", [&](std::uintptr_t code) { rule_by_libunwind(code, object.module, &rule); });
  time("ours", [&](std::uintptr_t code) { compile_rule(code, object.module, &rule); });
}
