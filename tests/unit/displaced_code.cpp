// SPDX-License-Identifier: Apache-2.0
// The first instructions of a function, at another place: they do what they did, and lead where they led. Each
// function here is machine code that is run twice, as it is and displaced.
#include "arch/instructions.hpp"

#include <sys/mman.h>

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/os.hpp"
#include "base/text.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;

namespace {

using Code = std::vector<unsigned char>;

/// Two pages: functions in the first, what is displaced in the second.
class Pages {
 public:
  Pages() : at_(static_cast<unsigned char*>(os::map(2 * kPageBytes))) {
    REQUIRE(at_ != nullptr);
    REQUIRE(os::protect(at_, 2 * kPageBytes, PROT_READ | PROT_WRITE | PROT_EXEC));
  }
  ~Pages() { os::unmap(at_, 2 * kPageBytes); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  unsigned char* function() const { return at_; }
  unsigned char* displaced() const { return at_ + kPageBytes; }
  std::uint64_t address() const { return reinterpret_cast<std::uintptr_t>(at_); }

  long run(unsigned char* code, long argument) const {
    return reinterpret_cast<long (*)(long)>(code)(argument);
  }

 private:
  unsigned char* at_;
};

std::uint64_t as_it_is(std::uint64_t target, const void*) noexcept { return target; }

/// Displaces the function, writes a jump to the rest of it over its beginning, and runs both.
void require_same(const Code& code, std::size_t bytes, std::initializer_list<long> arguments) {
  if (!arch::can_decode()) return;
  const Pages pages;
  std::memcpy(pages.function(), code.data(), code.size());
  std::vector<long> expected;
  for (const long a : arguments) expected.push_back(pages.run(pages.function(), a));
  const char* why = "";
  CHECK(arch::displaced_bytes(pages.function(), arch::kMostDisplacedBytes, pages.address(), &why) == bytes);
  INFO(why);
  const auto to = reinterpret_cast<std::uintptr_t>(pages.displaced());
  REQUIRE(arch::write_displaced(pages.function(), bytes, pages.address(), pages.displaced(), to, as_it_is, nullptr));
  REQUIRE(arch::write_jump(pages.function(), pages.address(), to));
  std::size_t n = 0;
  for (const long a : arguments) {
    INFO("argument " << a);
    CHECK(pages.run(pages.function(), a) == expected[n++]);
  }
}

std::string why_not(const Code& code) {
  if (!arch::can_decode()) return "no disassembler";
  const char* why = "";
  Code room = code;
  room.resize(arch::kMostDisplacedBytes, 0x90);
  return arch::displaced_bytes(room.data(), room.size(), 0x1000, &why) == 0 ? why : "";
}

}  // namespace

TEST_CASE("displaced: plain instructions, and a way back behind them") {
  // push %rbp; mov %rsp, %rbp; lea 7(%rdi), %rax; pop %rbp; ret
  require_same({0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x47, 0x07, 0x5d, 0xc3}, 8, {0, 1, -9});
}

TEST_CASE("displaced: short conditions become long ones") {
  // test %rdi, %rdi; je 1f; mov %rdi, %rax; ret; 1: mov $42, %eax; ret
  require_same({0x48, 0x85, 0xff, 0x74, 0x04, 0x48, 0x89, 0xf8, 0xc3, 0xb8, 42, 0, 0, 0, 0xc3}, 5, {0, 1, 77});
}

TEST_CASE("displaced: a long condition and a short jump lead where they led") {
  // test %rdi, %rdi; js 1f (long); mov $1, %eax; ret; 1: mov $2, %eax; ret
  require_same({0x48, 0x85, 0xff, 0x0f, 0x88, 0x06, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xc3, 0xb8, 2, 0, 0, 0, 0xc3}, 9,
               {0, 5, -5});
  // mov %rdi, %rax; jmp 1f (short); 1: add $3, %rax; ret
  require_same({0x48, 0x89, 0xf8, 0xeb, 0x00, 0x48, 0x83, 0xc0, 0x03, 0xc3}, 5, {4});
}

TEST_CASE("displaced: a call comes back to the function itself") {
  // call 1f; add $1, %rax; ret; 1: mov (%rsp), %rax; sub %rdi, %rax; ret
  require_same({0xe8, 0x05, 0, 0, 0, 0x48, 0x83, 0xc0, 0x01, 0xc3, 0x48, 0x8b, 0x04, 0x24, 0x48, 0x29, 0xf8, 0xc3}, 5,
               {0, 100});
}

TEST_CASE("displaced: memory that is named by its distance") {
  // mov 1f(%rip), %rax; ret; padding; 1: a number
  require_same({0x48, 0x8b, 0x05, 0x09, 0, 0, 0, 0x48, 0x01, 0xf8, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x90,
                0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0},
               7, {0, 3});
  // cmpl $5, 1f(%rip) (its immediate stands behind the distance); sete %al; movzbl %al, %eax; ret; 1: 5
  require_same({0x83, 0x3d, 0x07, 0, 0, 0, 5, 0x0f, 0x94, 0xc0, 0x0f, 0xb6, 0xc0, 0xc3, 5, 0, 0, 0}, 7, {0});
}

TEST_CASE("displaced: a function that ends within the jump") {
  // mov %edi, %eax; ret; what fills the gap
  require_same({0x89, 0xf8, 0xc3, 0x90, 0x90, 0x90}, arch::kJumpBytes, {12});
}

TEST_CASE("displaced: branches to entries can be led elsewhere") {
  if (!arch::can_decode()) return;
  const Pages pages;
  // jmp 1f; 1: mov $1, %eax; ret; 2: mov $2, %eax; ret
  const Code code = {0xe9, 0, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xc3, 0xb8, 2, 0, 0, 0, 0xc3};
  std::memcpy(pages.function(), code.data(), code.size());
  const auto second = [](std::uint64_t target, const void* from) noexcept -> std::uint64_t {
    return target == reinterpret_cast<std::uintptr_t>(from) + 5 ? target + 6 : target;
  };
  REQUIRE(arch::write_displaced(pages.function(), 5, pages.address(), pages.displaced(),
                                reinterpret_cast<std::uintptr_t>(pages.displaced()), second, pages.function()));
  CHECK(pages.run(pages.displaced(), 0) == 2);
}

TEST_CASE("displaced: what cannot run elsewhere is told") {
  if (!arch::can_decode()) return;
  CHECK(why_not({0xe3, 0x02, 0x48, 0x89, 0xf8, 0xc3}) == "a branch of a rare form is among them");  // jrcxz
  CHECK(why_not({0xe2, 0x10, 0x48, 0x89, 0xf8, 0xc3}) == "a branch of a rare form is among them");  // loop
  CHECK(why_not({0xf2, 0xe9, 0x10, 0, 0, 0, 0xc3}) == "a branch of a rare form is among them");     // bnd jmp
  CHECK(why_not({0x85, 0xff, 0x74, 0xfd, 0x90, 0xc3}) == "one of them jumps to another");
  CHECK(why_not({0x06, 0x90, 0x90, 0x90, 0x90}) == "they are no instructions that are known");
  CHECK(why_not({0x55, 0x48, 0x89, 0xe5, 0xc3}).empty());
}
