// SPDX-License-Identifier: Apache-2.0
#include "inside/known_registers.hpp"

#include <algorithm>
#include <initializer_list>
#include <span>

#include "arch/code.hpp"
#include "arch/instructions.hpp"
#include "inside/branch_or_chance.hpp"

namespace mallard::inside {
namespace {

/// More than what an allocator needs that asks nobody for memory.
constexpr std::size_t kMostFunctions = 128, kMostBytes = 4096;

class Calls {
 public:
  explicit Calls(const elf::ProgramFile& file) noexcept : file_(file) {}

  /// Whether the function at an address is seen to call what is not in the program, or functions of it that do. What
  /// cannot be read, or is too much, shows nothing.
  bool lead_outside(std::uint64_t address) noexcept {
    count_ = 0;
    add(address);
    for (std::size_t i = 0; i < count_; ++i)  // grows meanwhile
      if (leads_outside(&functions_[i])) return true;
    return false;
  }

 private:
  struct Function {
    std::uint64_t begin, end;
    bool has_symbol;  ///< else the end is not known before it is read
    bool holds(std::uint64_t address) const noexcept { return address >= begin && address < end; }
  };

  void add(std::uint64_t address) noexcept {
    const auto holds = [address](const Function& f) noexcept { return f.holds(address) || f.begin == address; };
    if (count_ == kMostFunctions || std::any_of(functions_, functions_ + count_, holds)) return;
    Function found{address, address, false};
    file_.for_each_function([&](std::string_view, const Elf64_Sym& s, bool) noexcept {
      const Function f{s.st_value, s.st_value + s.st_size, true};
      if (f.holds(address)) found = f;
      return !found.has_symbol;
    });
    functions_[count_++] = found;
  }

  bool leads_outside(Function* f) noexcept {
    constexpr std::size_t kMostWithoutSymbol = 64 << 10;
    const std::uint64_t end = f->has_symbol ? f->end : f->begin + kMostWithoutSymbol;
    for (std::uint64_t at = f->begin; at < end;) {
      std::size_t bytes = std::min<std::uint64_t>(sizeof code_, end - at);
      while (bytes > 0 && !file_.image().read_address(at, code_, bytes)) bytes /= 2;
      std::size_t n = 0;
      while (n < bytes && (bytes - n >= arch::kLongestInstruction || bytes < sizeof code_)) {
        arch::Instruction i;
        if (!arch::decode(code_ + n, bytes - n, at + n, &i)) return false;
        n += i.bytes;
        if (i.calls_by_pointer) return true;
        if (i.is_branch) add(i.target);
        // The last instruction of a function chooses among no places in it: those stand behind the choice.
        if (i.jumps_by_pointer && f->has_symbol && at + n == end) return true;
        f->end = std::max(f->end, at + n);
        if (!f->has_symbol && i.ends && !i.is_call) return false;
      }
      if (n == 0) return false;
      at += n;
    }
    return false;
  }

  const elf::ProgramFile& file_;
  std::size_t count_ = 0;
  Function functions_[kMostFunctions];
  unsigned char code_[kMostBytes];
};

/// Whether the program's code calls, or jumps to, where an entry begins, by its distance: a caller that knows it.
bool is_called_by_distance(const elf::ProgramFile& file, const TakeoverEntry& e) noexcept {
  constexpr std::size_t kReadAtOnce = 4 << 10;
  unsigned char code[kReadAtOnce];
  const std::uint64_t begin = e.address - (e.has_pad ? arch::kLongestLandingPad : 0);
  for (const Elf64_Phdr& s : file.image().segments()) {
    if (s.p_type != PT_LOAD || !(s.p_flags & PF_X)) continue;
    for (std::uint64_t at = 0; at + arch::kLongestReference <= s.p_filesz;
         at += kReadAtOnce - (arch::kLongestReference - 1)) {
      const std::size_t bytes = std::min<std::uint64_t>(kReadAtOnce, s.p_filesz - at);
      if (!file.image().read(s.p_offset + at, code, bytes)) return true;  // it cannot be ruled out
      for (std::size_t i = 0; i + arch::kLongestReference <= bytes; ++i) {
        const std::uint64_t address = s.p_vaddr + at + i;
        arch::Reference far{};
        std::uint64_t near = 0;
        if (!arch::short_jump_at(code + i, address, &near)) near = 0;
        if (!arch::reference_at(code + i, address, &far) || far.is_address) far = {};
        for (const std::uint64_t to : {near, far.target})
          if ((to == begin || to == e.address) && is_branch(file, address, to)) return true;
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
