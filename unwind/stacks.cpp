// SPDX-License-Identifier: Apache-2.0
#include "unwind/stacks.hpp"

#include <atomic>

#include "arch/frames.hpp"
#include "base/os.hpp"
#include "unwind/code_addresses.hpp"
#include "unwind/quick_rules.hpp"
#include "unwind/rule_lookup.hpp"
#include "unwind/rules.hpp"
#include "unwind/unwinder.hpp"
#include "unwind/unwinder_memory.hpp"

namespace mallard::unwind {
namespace {

struct Counters {
  std::atomic<std::uint64_t> captured{0}, by_libunwind{0}, truncated{0}, rules{0}, dropped{0};
};
constinit Counters counters;
MALLARD_PART(stacks, counters);

void count(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

bool ask_rule(std::uintptr_t code, std::uint16_t generation, Rule* rule) noexcept {
  Module module;
  if (!find_module(code, &module)) {
    note_generated_code(code);
    *rule = {RuleKind::kNoInfo};  // generated code comes and goes without notice: never remembered
    return true;
  }
  if (!compile_rule(code, module, rule)) return false;
  count(counters.rules);
  if (g_rules.put(code, generation, *rule) == RuleTable::kNone) count(counters.dropped);
  return true;
}

namespace {

/// Registers of one frame, and the way to those of its caller.
class Walk {
 public:
  enum class Result { kDone, kCut, kLibunwind };

  Walk(const Caller& caller, StackReader& stack) noexcept
      : stack_(stack),
        pc_(caller.pc),
        sp_(caller.return_slot + sizeof(std::uintptr_t)),
        frame_(caller.frame) {}

  Result run(std::uintptr_t* pcs, int max, int* n) noexcept {
    for (*n = 0;;) {
      if (*n == max) return Result::kCut;
      Rule rule;
      if (!rule_at(pc_ - (exact_ ? 0 : 1), generation_, &rule)) {
        pcs[(*n)++] = pc_;
        return Result::kCut;
      }
      // A jump between stacks is believed if it leads to code of some object.
      if (jumped_ && rule.kind == RuleKind::kNoInfo) return Result::kCut;
      pcs[(*n)++] = pc_;
      if (rule.kind == RuleKind::kEnd) return Result::kDone;
      if (rule.kind == RuleKind::kLibunwind) return Result::kLibunwind;
      if (!step(rule)) return rule.kind == RuleKind::kNoInfo ? Result::kDone : Result::kCut;
      if (pc_ < kPageBytes) return Result::kDone;
    }
  }

 private:
  bool step(const Rule& rule) noexcept {
    if (rule.kind == RuleKind::kSignal) return step_over_signal();
    if (rule.kind == RuleKind::kNoInfo) return step_by_frame_pointer();
    std::uintptr_t cfa = (rule.kind == RuleKind::kFromSp ? sp_ : frame_) + offset(rule.cfa_offset);
    if (rule.kind == RuleKind::kFromFrameSlot && !stack_.read(cfa, &cfa)) return false;
    const std::uintptr_t base = rule.kind == RuleKind::kFromFrameSlot ? frame_ : cfa;
    std::uintptr_t frame = frame_;
    if (rule.saves_frame && !stack_.read(base + offset(rule.frame_offset), &frame)) return false;
    return enter(cfa, frame);
  }

  bool enter(std::uintptr_t cfa, std::uintptr_t frame) noexcept {
    if (!stack_.read(cfa + offset(arch::kReturnOffset), &pc_)) return false;
    jumped_ = cfa <= sp_ ||
              stack_.own(cfa + offset(arch::kReturnOffset)) != stack_.own(sp_ + offset(arch::kReturnOffset));
    sp_ = cfa;
    frame_ = frame;
    exact_ = false;
    return true;
  }

  bool step_by_frame_pointer() noexcept {
    std::uintptr_t frame;
    if (frame_ - sp_ > kNearFrameBytes || frame_ % 8 != 0 || !stack_.read(frame_, &frame)) return false;
    return enter(frame_ + arch::kLinkedFrameBytes, frame);
  }

  /// The stack pointer stands at the ucontext_t that the kernel pushed; the pc in it is no return address.
  bool step_over_signal() noexcept {
    std::uintptr_t sp;
    if (!stack_.read(sp_ + arch::kSignalPc, &pc_) || !stack_.read(sp_ + arch::kSignalFrame, &frame_) ||
        !stack_.read(sp_ + arch::kSignalSp, &sp))
      return false;
    sp_ = sp;
    exact_ = true;
    jumped_ = false;
    return true;
  }

  StackReader& stack_;
  const std::uint16_t generation_ = g_rules.generation();
  std::uintptr_t pc_, sp_, frame_;
  bool exact_ = false;   ///< pc is the next instruction itself, not a return address
  bool jumped_ = false;  ///< the last step did not go up within one stack
};

}  // namespace

void stacks_init() noexcept { unwinder_init(); }

int capture_stack(const Caller& caller, std::uintptr_t* pcs, int max) noexcept {
  if (max > kMaxDepth) max = kMaxDepth;
  count(counters.captured);
  StackReader stack(caller.return_slot);
  int n = 0;
  Walk::Result result = Walk(caller, stack).run(pcs, max, &n);
  if (result == Walk::Result::kLibunwind) {
    bool truncated = false;
    const int m = unwind_fully(caller, stack, pcs, max, &truncated);
    if (m > 0) {
      n = m;
      count(counters.by_libunwind);
    }
    if (m == 0 || truncated) result = Walk::Result::kCut;
  }
  if (result == Walk::Result::kCut) count(counters.truncated);
  return n;
}

void on_module_unloaded() noexcept {
  forget_modules();
  g_rules.expire_all();
  begin_code_epoch();
}

bool adopt(const OtherParts& parts) noexcept {
  return parts.adopt(counters) && own_stacks_adopt(parts) && code_addresses_adopt(parts);
}

StackStats stack_stats() noexcept {
  const auto value = [](const std::atomic<std::uint64_t>& c) noexcept {
    return c.load(std::memory_order_relaxed);
  };
  return {value(counters.captured), value(counters.by_libunwind), value(counters.truncated),
          value(counters.rules),    value(counters.dropped),      maps_readings(),
          code_addresses_dropped()};
}

std::uint64_t stacks_own_bytes() noexcept {
  return os::resident_bytes(&g_rules, sizeof g_rules) +
         os::resident_bytes(&g_quick_rules, sizeof g_quick_rules) + unwinder_own_bytes();
}

MALLARD_FORK_TEXT void stacks_before_fork() noexcept { unwinder_before_fork(); }
MALLARD_FORK_TEXT void stacks_after_fork() noexcept { unwinder_after_fork(); }

}  // namespace mallard::unwind
