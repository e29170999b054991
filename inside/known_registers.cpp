// SPDX-License-Identifier: Apache-2.0
#include "inside/known_registers.hpp"

#include <algorithm>
#include <span>

#include "arch/code.hpp"
#include "arch/instructions.hpp"
#include "inside/branch_or_chance.hpp"

namespace mallard::inside {
namespace {

/// More than what an allocator needs that asks nobody for memory.
constexpr std::size_t kMostFunctions = 64, kMostBytes = 4096;

class Calls {
 public:
  explicit Calls(const elf::ProgramFile& file) noexcept : file_(file) {}

  /// Whether the function at an address calls what is not known, or functions of the program that do.
  bool lead_outside(std::uint64_t address) noexcept {
    count_ = 0;
    if (!add(address)) return true;
    for (std::size_t i = 0; i < count_; ++i)  // grows meanwhile
      if (leads_outside(functions_[i])) return true;
    return false;
  }

 private:
  /// \return false if no function is there, or there are too many
  bool add(std::uint64_t address) noexcept {
    const auto holds = [address](const CodeRange& f) noexcept { return address >= f.begin && address < f.end; };
    if (std::any_of(functions_, functions_ + count_, holds)) return true;
    CodeRange found{};
    file_.for_each_function([&](std::string_view, const Elf64_Sym& s, bool) noexcept {
      const CodeRange f{s.st_value, s.st_value + s.st_size};
      if (holds(f)) found = f;
      return found.end == 0;
    });
    if (found.end == 0 || found.end - found.begin > kMostBytes || count_ == kMostFunctions) return false;
    functions_[count_++] = found;
    return true;
  }

  bool leads_outside(const CodeRange& f) noexcept {
    const std::size_t bytes = f.end - f.begin;
    if (!file_.image().read_address(f.begin, code_, bytes)) return true;
    for (std::size_t at = 0; at < bytes;) {
      arch::Instruction i;
      if (!arch::decode(code_ + at, bytes - at, f.begin + at, &i)) return true;
      if (i.calls_by_pointer || (i.is_branch && !add(i.target))) return true;
      at += i.bytes;
      // The last instruction of a function chooses among no places in it: those stand behind the choice.
      if (i.jumps_by_register && at == bytes) return true;
    }
    return false;
  }

  const elf::ProgramFile& file_;
  std::size_t count_ = 0;
  CodeRange functions_[kMostFunctions];
  unsigned char code_[kMostBytes];
};

/// Whether the program's code calls, or jumps to, where an entry begins, by its distance: a caller that knows it.
bool is_called_by_distance(const elf::ProgramFile& file, const TakeoverEntry& e) noexcept {
  constexpr std::size_t kReadAtOnce = 4 << 10;
  unsigned char code[kReadAtOnce];
  const std::uint64_t begin = e.address - (e.has_pad ? arch::kLongestLandingPad : 0);
  for (const Elf64_Phdr& s : file.image().segments()) {
    if (s.p_type != PT_LOAD || !(s.p_flags & PF_X)) continue;
    for (std::uint64_t at = 0; at + kJumpBytes <= s.p_filesz; at += kReadAtOnce - (kJumpBytes - 1)) {
      const std::size_t bytes = std::min<std::uint64_t>(kReadAtOnce, s.p_filesz - at);
      if (!file.image().read(s.p_offset + at, code, bytes)) return true;  // it cannot be ruled out
      for (std::size_t i = 0; i + kJumpBytes <= bytes; ++i) {
        std::uint64_t to;
        const std::uint64_t address = s.p_vaddr + at + i;
        if (!arch::branch_at(code + i, address, &to) || (to != begin && to != e.address)) continue;
        if (is_branch(file.image(), address, to)) return true;
      }
    }
  }
  return false;
}

}  // namespace

const TakeoverEntry* find_known_registers(const elf::ProgramFile& file, const TakeoverPlan& plan) noexcept {
  Calls calls(file);
  for (const TakeoverEntry& e : std::span(plan.entries, plan.count))
    if (e.kind == EmbeddedKind::kProgram && e.displaced > 0 && !calls.lead_outside(e.address) &&
        is_called_by_distance(file, e))
      return &e;
  return nullptr;
}

}  // namespace mallard::inside
