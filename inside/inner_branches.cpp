// SPDX-License-Identifier: Apache-2.0
#include "inside/inner_branches.hpp"

#include <algorithm>
#include <cstring>

#include "arch/instructions.hpp"

namespace mallard::inside {
namespace {

constexpr std::size_t kPieceOfCode = 4096;

class InnerBranches {
 public:
  InnerBranches(const elf::ProgramFile& file, TakeoverPlan& plan) noexcept : file_(file), plan_(plan) {
    for (std::size_t i = 0; i < plan.count; ++i) order_[i] = static_cast<std::uint16_t>(i);
    std::sort(order_, order_ + plan.count, [&plan](std::uint16_t a, std::uint16_t b) noexcept {
      return plan.entries[a].address < plan.entries[b].address;
    });
  }

  bool run(std::span<const CodeRange> own) noexcept {
    std::uint64_t done = 0;  // aliases share their code
    for (const CodeRange& range : own) {
      const std::uint64_t begin = std::max(range.begin, done);
      if (begin < range.end && !read({begin, range.end})) return false;
      done = std::max(done, range.end);
    }
    return true;
  }

 private:
  bool read(CodeRange range) noexcept {
    for (std::uint64_t at = range.begin; at < range.end;) {
      const std::size_t bytes = std::min<std::uint64_t>(kPieceOfCode, range.end - at);
      if (!file_.image().read_address(at, code_, bytes)) return refuse(at, " cannot be read");
      std::size_t n = 0;
      while (n < bytes && (bytes - n >= arch::kLongestInstruction || at + bytes == range.end)) {
        arch::Instruction i;
        if (!arch::decode(code_ + n, bytes - n, at + n, &i))
          return refuse(at + n, " has bytes that are no instruction");
        if (i.is_branch && !judge(at + n, i)) return false;
        n += i.bytes;
      }
      at += n;
    }
    return true;
  }

  /// The entry whose first bytes `address` lies in, or the landing pad before them.
  const TakeoverEntry* entry_around(std::uint64_t address) const noexcept {
    const auto* end = order_ + plan_.count;
    const auto* above =
        std::upper_bound(order_, end, address, [this](std::uint64_t a, std::uint16_t b) noexcept {
          return a + arch::kLongestLandingPad < plan_.entries[b].address;
        });
    for (int back = 0; back < 2 && above != order_; ++back) {
      const TakeoverEntry& e = plan_.entries[*--above];
      if (address < e.address + e.displaced && is_of(e, address)) return &e;
    }
    return nullptr;
  }
  static bool is_of(const TakeoverEntry& e, std::uint64_t address) noexcept {
    return address >= e.address || (e.has_pad && address + arch::kLongestLandingPad == e.address);
  }

  bool judge(std::uint64_t from, const arch::Instruction& i) noexcept {
    const TakeoverEntry* to = entry_around(i.target);
    if (!to) return true;
    // What is displaced is written anew elsewhere, and led to where it belongs.
    const TakeoverEntry* in = entry_around(from);
    if (in && from >= in->address) return true;
    if (i.target > to->address) return refuse(from, " jumps back into the first bytes of ", to->target);
    if (i.distance_bytes != sizeof(InnerBranch::distance))
      return refuse(from, " has a short jump to ", to->target);
    if (plan_.inner_count == kMaxInnerBranches) return refuse(from, " is one caller too many of ", to->target);
    InnerBranch& branch = plan_.inner[plan_.inner_count++];
    branch = {from + i.distance_at, 0, static_cast<std::uint16_t>(to - plan_.entries)};
    return file_.image().read_address(branch.distance_at, &branch.distance, sizeof branch.distance) ||
           refuse(from, " cannot be read");
  }

  bool refuse(std::uint64_t at, std::string_view why, std::string_view of = {}) noexcept {
    std::string_view name;
    file_.for_each_function([&](std::string_view n, const Elf64_Sym& s, bool) noexcept {
      if (at >= s.st_value && at < s.st_value + s.st_size) name = n;
      return name.empty();
    });
    plan_.why.clear();
    plan_.why.add(name.empty() ? "its code" : name).add(why).add(of);
    plan_.next.clear();
    plan_.next.add("use ALLOC_EMBEDDED=redirect, which moves no instruction");
    return false;
  }

  const elf::ProgramFile& file_;
  TakeoverPlan& plan_;
  std::uint16_t order_[kMaxTakeoverEntries] = {};  ///< numbers of the entries, by address
  unsigned char code_[kPieceOfCode];
};

}  // namespace

bool find_inner_branches(const elf::ProgramFile& file, std::span<const CodeRange> own,
                         TakeoverPlan& plan) noexcept {
  return InnerBranches(file, plan).run(own);
}

}  // namespace mallard::inside
