// SPDX-License-Identifier: Apache-2.0
#include "inside/call_search.hpp"

#include <string.h>

#include <algorithm>

#include "arch/code.hpp"
#include "base/os.hpp"
#include "inside/branch_or_chance.hpp"
#include "inside/inner_branches.hpp"
#include "inside/known_allocators.hpp"

namespace mallard::inside {
namespace {

struct Target {
  std::uint64_t address;
  bool is_internal;  ///< else it lies within a future jump
};
using Range = CodeRange;
struct Function {
  std::uint64_t begin, end;
  bool is_own;  ///< among the allocator's already
};

constexpr std::size_t kMaxTargets = 16384, kPieceBytes = 256 << 10;
using arch::kLongestReference;

constexpr std::size_t kMaxFunctions = 4u << 20, kMaxBodyBytes = 64 << 10;

struct Workspace {
  Target targets[kMaxTargets];
  unsigned char piece[kPieceBytes];
};

class CallSearch {
 public:
  CallSearch(const elf::ProgramFile& file, bool observes, TakeoverPlan& plan, Workspace& space) noexcept
      : file_(file), observes_(observes), plan_(plan), space_(space) {}

  ~CallSearch() {
    if (functions_) os::unmap(functions_, kMaxFunctions * sizeof(Function));
  }

  bool run() noexcept {
    collect();
    if (is_unknown_allocator() && file_.has_symbol_table()) collect_callees();
    if (too_many_) {
      plan_.why.add("it has more functions of allocators than mallard can keep apart");
      return false;
    }
    if (targets_ == 0) return true;
    std::sort(space_.targets, space_.targets + targets_,
              [](const Target& a, const Target& b) noexcept { return a.address < b.address; });
    std::sort(plan_.own, plan_.own + plan_.own_count,
              [](const Range& a, const Range& b) noexcept { return a.begin < b.begin; });
    for (const Range& range : std::span(plan_.own, plan_.own_count))
      plan_.code_end = std::max(plan_.code_end, range.end);
    if (plan_.own_count > 0) plan_.code_begin = plan_.own[0].begin;
    lowest_ = space_.targets[0].address;
    highest_ = space_.targets[targets_ - 1].address;
    for (const Elf64_Phdr& s : file_.image().segments())
      if (s.p_type == PT_LOAD && (s.p_flags & PF_X) && !search(s)) return false;
    return !observes_ || find_inner_branches(file_, {plan_.own, plan_.own_count}, plan_);
  }

 private:
  void add_target(std::uint64_t address, bool is_internal) noexcept {
    if (targets_ == kMaxTargets) too_many_ = true;
    else space_.targets[targets_++] = {address, is_internal};
  }

  bool is_entry(std::uint64_t address) const noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i)
      if (plan_.entries[i].address == address || plan_.entries[i].address == address + 4) return true;
    return false;
  }

  void collect() noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i)
      for (std::size_t n = 1; n < plan_.entries[i].displaced; ++n) add_target(plan_.entries[i].address + n, false);
    file_.for_each_function([this](std::string_view name, const Elf64_Sym& s, bool) noexcept {
      const bool entry = is_entry(s.st_value);
      const SymbolMeaning m = meaning_of(name);
      if (m.role == SymbolRole::kInternal && !entry && plan_.has_kind[static_cast<std::size_t>(m.kind)])
        add_target(s.st_value, true);
      if (entry || m.role == SymbolRole::kInternal || is_named_like_an_allocator(name)) {
        if (plan_.own_count == kMaxOwnRanges) too_many_ = true;
        else plan_.own[plan_.own_count++] = {s.st_value, s.st_value + s.st_size};
      }
      return !too_many_;
    });
  }

  bool is_unknown_allocator() const noexcept { return !plan_.has_kind[0] && !plan_.has_kind[1]; }

  /// Collects the functions that the entry points call. Where the names of an allocator's functions tell
  /// nothing, those are internal, and so a copy of an entry point elsewhere shows; what those functions call
  /// in turn may call it, too.
  void collect_callees() noexcept {
    functions_ = static_cast<Function*>(os::map(kMaxFunctions * sizeof(Function)));
    if (!functions_) return;
    file_.for_each_function([this](std::string_view, const Elf64_Sym& s, bool) noexcept {
      functions_[function_count_++] = {s.st_value, s.st_value + s.st_size, false};
      return function_count_ < kMaxFunctions;
    });
    std::sort(functions_, functions_ + function_count_,
              [](const Function& a, const Function& b) noexcept { return a.begin < b.begin; });
    const std::size_t entries = plan_.own_count;
    for (std::size_t i = 0; i < entries; ++i)
      if (Function* f = function_at(plan_.own[i].begin)) f->is_own = true;
    for (std::size_t i = 0; i < plan_.own_count; ++i) {  // grows meanwhile
      const Range body = plan_.own[i];
      const std::size_t bytes = std::min<std::uint64_t>(body.end - body.begin, kMaxBodyBytes);
      if (!file_.image().read_address(body.begin, space_.piece, bytes)) continue;
      for (std::size_t n = 0; n + kJumpBytes <= bytes; ++n) {
        std::uint64_t to;
        if (!arch::branch_at(space_.piece + n, body.begin + n, &to) || (to >= body.begin && to < body.end))
          continue;
        Function* callee = function_at(to);
        if (!callee || callee->is_own) continue;
        if (plan_.own_count == kMaxOwnRanges) {
          too_many_ = true;
          return;
        }
        callee->is_own = true;
        plan_.own[plan_.own_count++] = {callee->begin, callee->end};
        if (i < entries) add_target(to, true);
      }
    }
  }

  Function* function_at(std::uint64_t address) const noexcept {
    Function* end = functions_ + function_count_;
    Function* f = std::lower_bound(functions_, end, address,
                                   [](const Function& a, std::uint64_t b) noexcept { return a.begin < b; });
    return f != end && f->begin == address ? f : nullptr;
  }

  bool search(const Elf64_Phdr& segment) noexcept {
    const unsigned char* code = space_.piece;
    std::uint64_t at = 0;
    while (at + kLongestReference < segment.p_filesz) {
      const std::size_t bytes = std::min<std::uint64_t>(kPieceBytes, segment.p_filesz - at);
      if (!file_.image().read(segment.p_offset + at, space_.piece, bytes)) {
        plan_.why.add("its code cannot be read");
        return false;
      }
      const std::uint64_t address = segment.p_vaddr + at;
      for (std::size_t i = 0; i + kLongestReference <= bytes; ++i) {
        arch::Reference found;
        if (!arch::reference_at(code + i, address + i, &found)) continue;
        if (found.target < lowest_ || found.target > highest_) continue;
        if (!judge(address + i, found.target, found.is_address)) return false;
      }
      at += bytes - kLongestReference;
    }
    return true;
  }

  const Target* find(std::uint64_t address) const noexcept {
    const Target* end = space_.targets + targets_;
    const Target* begin = space_.targets;
    const Target* t = std::lower_bound(
        begin, end, address, [](const Target& a, std::uint64_t b) noexcept { return a.address < b; });
    return t != end && t->address == address ? t : nullptr;
  }

  bool is_own(std::uint64_t address) const noexcept {
    const Range *begin = plan_.own, *end = begin + plan_.own_count;
    const Range* r = std::upper_bound(begin, end, address,
                                      [](std::uint64_t a, const Range& b) noexcept { return a < b.begin; });
    // Aliases share a beginning and may differ in size.
    for (int back = 0; back < 8 && r != begin; ++back)
      if (address < (--r)->end) return true;
    return false;
  }

  /// \return false if this call speaks against taking over
  bool judge(std::uint64_t from, std::uint64_t to, bool is_address) noexcept {
    const Target* target = find(to);
    if (!target || is_own(from)) return true;
    if (!target->is_internal && is_address) return true;
    if (target->is_internal && is_helper(from)) return true;
    if (!is_address && !is_branch(file_, from, to)) return true;
    const std::string_view named = name_at(from), callee = name_at(to);
    const std::string_view caller = named.empty() ? "code without a name" : named;
    if (!target->is_internal) {
      plan_.why.add(caller).add(" jumps into the first bytes of ").add(callee);
      return false;
    }
    plan_.why.add(caller).add(is_address ? " refers to " : " calls ");
    plan_.why.add(callee).add(", which only the allocator itself may");
    plan_.next.clear();
    const bool is_heap = callee.find("heap") != callee.npos && callee[0] != '_';
    plan_.next.add(is_heap ? "heaps of a program's own have no counterpart in other allocators"
                           : "build the program without link-time optimisation (-flto)");
    return false;
  }

  std::string_view name_at(std::uint64_t address) const noexcept {
    std::string_view found;
    file_.for_each_function([&](std::string_view name, const Elf64_Sym& s, bool) noexcept {
      if (address >= s.st_value && (address < s.st_value + s.st_size || address == s.st_value)) found = name;
      return found.empty();
    });
    return found;
  }

  /// A static function of the allocator without its prefix: all names around it are the allocator's.
  bool is_helper(std::uint64_t address) const noexcept {
    std::uint64_t below = 0, above = ~std::uint64_t{0};
    bool own_below = false, own_above = false, is_local = false;
    file_.for_each_function([&](std::string_view name, const Elf64_Sym& s, bool) noexcept {
      const bool own = is_named_like_an_allocator(name);
      const bool local =
          ELF64_ST_BIND(s.st_info) == STB_LOCAL && !own && !name.starts_with("_Z") && !name.starts_with("_R");
      if (address >= s.st_value && address < s.st_value + s.st_size) is_local |= local;
      if (local) return true;
      if (s.st_value <= address && s.st_value >= below) below = s.st_value, own_below = own;
      if (s.st_value > address && s.st_value < above) above = s.st_value, own_above = own;
      return true;
    });
    return is_local && own_below && own_above;
  }

  const elf::ProgramFile& file_;
  const bool observes_;
  TakeoverPlan& plan_;
  Workspace& space_;
  std::size_t targets_ = 0, function_count_ = 0;
  Function* functions_ = nullptr;  ///< sorted; of unknown allocators only
  std::uint64_t lowest_ = 0, highest_ = 0;
  bool too_many_ = false;
};

}  // namespace

bool entries_are_the_only_way_in(const elf::ProgramFile& file, bool observes, TakeoverPlan& plan) noexcept {
  auto* space = static_cast<Workspace*>(os::map(sizeof(Workspace)));
  if (!space) {
    plan.why.add("there is no memory to examine it");
    return false;
  }
  const bool good = CallSearch(file, observes, plan, *space).run();
  os::unmap(space, sizeof(Workspace));
  return good;
}

}  // namespace mallard::inside
