// SPDX-License-Identifier: Apache-2.0
#include "cli/attach/seccomp_filter.hpp"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstring>

#include "arch/borrow.hpp"

namespace mallard::cli {
namespace {

constexpr std::size_t kMostFilters = 64;

/// The machine of Linux' "classic" filters, as far as seccomp admits its instructions.
struct Machine {
  std::uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {};
};

bool calculate(Machine* m, std::uint16_t code, std::uint32_t operand) {
  switch (code & 0xf0) {
    case BPF_ADD:
      m->a += operand;
      return true;
    case BPF_SUB:
      m->a -= operand;
      return true;
    case BPF_MUL:
      m->a *= operand;
      return true;
    case BPF_DIV:
      if (operand == 0) return false;
      m->a /= operand;
      return true;
    case BPF_OR:
      m->a |= operand;
      return true;
    case BPF_AND:
      m->a &= operand;
      return true;
    case BPF_XOR:
      m->a ^= operand;
      return true;
    case BPF_LSH:
      m->a = operand < 32 ? m->a << operand : 0;
      return true;
    case BPF_RSH:
      m->a = operand < 32 ? m->a >> operand : 0;
      return true;
    case BPF_NEG:
      m->a = 0 - m->a;
      return true;
    default:
      return false;
  }
}

bool holds(std::uint16_t code, std::uint32_t a, std::uint32_t operand) {
  switch (code & 0xf0) {
    case BPF_JEQ:
      return a == operand;
    case BPF_JGT:
      return a > operand;
    case BPF_JGE:
      return a >= operand;
    default:
      return (a & operand) != 0;  // BPF_JSET
  }
}

bool load(const seccomp_data& data, std::uint32_t offset, std::uint32_t* to) {
  if (offset > sizeof data - sizeof *to) return false;
  std::memcpy(to, reinterpret_cast<const char*>(&data) + offset, sizeof *to);
  return true;
}

bool keep(Machine* m, const sock_filter& i) {
  if (i.k >= BPF_MEMWORDS) return false;
  m->memory[i.k] = BPF_CLASS(i.code) == BPF_ST ? m->a : m->x;
  return true;
}

bool fetch(Machine* m, const sock_filter& i, const seccomp_data& data) {
  std::uint32_t& to = BPF_CLASS(i.code) == BPF_LD ? m->a : m->x;
  switch (BPF_MODE(i.code)) {
    case BPF_IMM:
      to = i.k;
      return true;
    case BPF_MEM:
      if (i.k >= BPF_MEMWORDS) return false;
      to = m->memory[i.k];
      return true;
    case BPF_LEN:
      to = sizeof data;
      return true;
    case BPF_ABS:
      return load(data, i.k, &to);
    default:
      return false;
  }
}

/// A call that loading or recording makes, with the arguments that filters ask for.
struct Needed {
  const char* name;
  long number;
  std::uint64_t arguments[6];
};
constexpr Needed kNeeded[] = {{"openat", SYS_openat, {}},
                              {"read", SYS_read, {}},
                              {"pread64", SYS_pread64, {}},
                              {"fstat", SYS_fstat, {}},
                              {"newfstatat", SYS_newfstatat, {}},
                              {"close", SYS_close, {}},
                              {"mmap", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, 3, 0}},
                              {"mmap", SYS_mmap, {0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0}},
                              {"mmap", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0}},
                              {"mprotect", SYS_mprotect, {0, 4096, PROT_READ | PROT_WRITE, 0, 0, 0}},
                              {"munmap", SYS_munmap, {}},
                              {"madvise", SYS_madvise, {}},
                              {"brk", SYS_brk, {}},
                              {"futex", SYS_futex, {}},
                              {"getpid", SYS_getpid, {}},
                              {"ioctl", SYS_ioctl, {}},
                              {"memfd_create", SYS_memfd_create, {}},
                              {"process_vm_writev", SYS_process_vm_writev, {}},
                              {"prlimit64", SYS_prlimit64, {}},
                              {"rt_sigreturn", SYS_rt_sigreturn, {}}};

bool is_fatal(std::uint32_t action) {
  switch (action & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ERRNO:
      return false;
    default:  // kill, trap, trace, or ask somebody
      return true;
  }
}

}  // namespace

std::uint32_t run_filter(std::span<const sock_filter> program, long call,
                         std::span<const std::uint64_t> arguments) {
  seccomp_data data{};
  data.nr = static_cast<int>(call);
  data.arch = arch::kAuditArchitecture;
  for (std::size_t i = 0; i < arguments.size() && i < 6; ++i) data.args[i] = arguments[i];
  Machine m;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& i = program[at];
    const std::uint32_t operand = BPF_SRC(i.code) == BPF_X ? m.x : i.k;
    bool good = true;
    switch (BPF_CLASS(i.code)) {
      case BPF_LD:
      case BPF_LDX:
        good = fetch(&m, i, data);
        break;
      case BPF_ST:
      case BPF_STX:
        good = keep(&m, i);
        break;
      case BPF_ALU:
        good = calculate(&m, i.code, operand);
        break;
      case BPF_JMP:
        at += (i.code & 0xf0) == BPF_JA ? i.k : holds(i.code, m.a, operand) ? i.jt : i.jf;
        break;
      case BPF_RET:
        return BPF_RVAL(i.code) == BPF_A ? m.a : i.k;
      default:  // BPF_MISC
        if (BPF_MISCOP(i.code) == BPF_TAX) m.x = m.a;
        else m.a = m.x;
    }
    if (!good) break;
  }
  return SECCOMP_RET_KILL_PROCESS;
}

bool read_filters(pid_t thread, std::vector<std::vector<sock_filter>>* out) {
  out->clear();
  for (std::size_t index = 0; index < kMostFilters; ++index) {
    const long count = ptrace(PTRACE_SECCOMP_GET_FILTER, thread, reinterpret_cast<void*>(index), nullptr);
    if (count < 0) return errno == ENOENT && index > 0;
    out->emplace_back(static_cast<std::size_t>(count));
    if (ptrace(PTRACE_SECCOMP_GET_FILTER, thread, reinterpret_cast<void*>(index), out->back().data()) !=
        count)
      return false;
  }
  return false;
}

std::string fatal_call(const std::vector<std::vector<sock_filter>>& filters) {
  for (const Needed& needed : kNeeded)
    for (const auto& filter : filters)
      if (is_fatal(run_filter(filter, needed.number, needed.arguments))) return needed.name;
  return {};
}

}  // namespace mallard::cli
