// SPDX-License-Identifier: Apache-2.0
// What a seccomp filter would do to a call, as the command finds out.
#include "cli/attach/seccomp_filter.hpp"

#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <cstddef>
#include <vector>

#include "catch.hpp"

using namespace mallard::cli;

namespace {

constexpr std::uint32_t kNumber = offsetof(seccomp_data, nr), kThird = offsetof(seccomp_data, args) + 16;

using Program = std::vector<sock_filter>;

sock_filter statement(int code, std::uint32_t k) { return BPF_STMT(static_cast<std::uint16_t>(code), k); }
sock_filter jump(int code, std::uint32_t k, std::uint8_t yes, std::uint8_t no) {
  return BPF_JUMP(static_cast<std::uint16_t>(code), k, yes, no);
}

}  // namespace

TEST_CASE("seccomp filter: the action follows from number and arguments") {
  const Program program = {statement(BPF_LD | BPF_W | BPF_ABS, kNumber),
                           jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
                           statement(BPF_LD | BPF_W | BPF_ABS, kThird),
                           jump(BPF_JMP | BPF_JSET | BPF_K, 4, 0, 1),  // PROT_EXEC
                           statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                           statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const std::uint64_t writes[6] = {0, 4096, 3}, runs[6] = {0, 4096, 5};
  CHECK(run_filter(program, SYS_mprotect, writes) == SECCOMP_RET_ALLOW);
  CHECK(run_filter(program, SYS_mprotect, runs) == SECCOMP_RET_KILL_PROCESS);
  CHECK(run_filter(program, SYS_read, runs) == SECCOMP_RET_ALLOW);
}

TEST_CASE("seccomp filter: it calculates as the kernel does") {
  const auto result = [](std::initializer_list<sock_filter> steps) {
    Program program(steps);
    program.push_back(statement(BPF_RET | BPF_A, 0));
    return run_filter(program, 7, {});
  };
  CHECK(result({statement(BPF_LD | BPF_W | BPF_ABS, kNumber), statement(BPF_ALU | BPF_ADD | BPF_K, 5)}) == 12);
  CHECK(result({statement(BPF_LD | BPF_IMM, 9), statement(BPF_MISC | BPF_TAX, 0), statement(BPF_LD | BPF_IMM, 4),
                statement(BPF_ALU | BPF_MUL | BPF_X, 0)}) == 36);
  CHECK(result({statement(BPF_LD | BPF_IMM, 6), statement(BPF_ST, 3), statement(BPF_LD | BPF_IMM, 1),
                statement(BPF_LDX | BPF_MEM, 3), statement(BPF_ALU | BPF_LSH | BPF_X, 0)}) == 64);
  CHECK(result({statement(BPF_LD | BPF_W | BPF_LEN, 0)}) == sizeof(seccomp_data));
}

TEST_CASE("seccomp filter: what the kernel would not take kills") {
  CHECK(run_filter({}, SYS_read, {}) == SECCOMP_RET_KILL_PROCESS);
  const Program beyond = {statement(BPF_LD | BPF_W | BPF_ABS, sizeof(seccomp_data))};
  CHECK(run_filter(beyond, SYS_read, {}) == SECCOMP_RET_KILL_PROCESS);
  const Program far = {jump(BPF_JMP | BPF_JA, ~0u, 0, 0)};
  CHECK(run_filter(far, SYS_read, {}) == SECCOMP_RET_KILL_PROCESS);
  const Program divides = {statement(BPF_ALU | BPF_DIV | BPF_K, 0), statement(BPF_RET | BPF_A, 0)};
  CHECK(run_filter(divides, SYS_read, {}) == SECCOMP_RET_KILL_PROCESS);
}

TEST_CASE("seccomp filter: the call that would be fatal is named") {
  const auto only_fatal = [](long number) {
    return Program{statement(BPF_LD | BPF_W | BPF_ABS, kNumber),
                   jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1),
                   statement(BPF_RET | BPF_K, SECCOMP_RET_TRAP), statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  };
  CHECK(fatal_call({only_fatal(SYS_futex)}) == "futex");
  CHECK(fatal_call({only_fatal(SYS_ptrace), only_fatal(SYS_madvise)}) == "madvise");
  CHECK(fatal_call({only_fatal(SYS_ptrace)}).empty());
}
