// SPDX-License-Identifier: Apache-2.0
// What makes a join right: unwinding from a frame on depends on its pc, its stack pointer, its frame pointer
// if an older rule uses it before it is restored, the rules, and the words that are read on the way, and on
// nothing else. A frame is met again if the first three are the same, rules are the same while code_epoch()
// is, and every word is compared, newest first. All words lie on the thread's own stack above the stack
// pointer, where reading never faults; a walk that leaves it is done in full, and nothing is kept of it.
#include "record/exact/incremental.hpp"

#include <atomic>

#include "arch/frames.hpp"
#include "record/exact/stack_memory.hpp"
#include "unwind/code_addresses.hpp"
#include "unwind/quick_rules.hpp"
#include "unwind/rule_lookup.hpp"
#include "unwind/unwinder_memory.hpp"

namespace mallard::record {
namespace {

using StackWord __attribute__((may_alias)) = std::uintptr_t;

constexpr std::uint32_t kFlushEvery = 256;

struct {
  std::atomic<std::uint64_t> captured{0}, apart{0}, walked{0}, in_full{0};
} constinit g_stats;

void flush(std::uint32_t& from, std::atomic<std::uint64_t>& to) noexcept {
  to.fetch_add(from, std::memory_order_relaxed);
  from = 0;
}

MALLARD_COLD void flush_stats(StackMemory& m) noexcept {
  flush(m.captured, g_stats.captured);
  flush(m.apart, g_stats.apart);
  flush(m.walked, g_stats.walked);
  flush(m.in_full, g_stats.in_full);
}

MALLARD_COLD void forget_all(StackMemory& m, std::uint64_t epoch, std::uintptr_t top) noexcept {
  m.depth = 0;
  m.old[0] = {0, ~std::uintptr_t{0}, 0, 0, kRoot, kInputs, false, false};
  std::atomic_signal_fence(std::memory_order_seq_cst);  // a handler may leave by siglongjmp
  m.top = top;
  m.epoch = epoch;
}

inline std::uintptr_t word_at(std::uintptr_t address) noexcept {
  return *reinterpret_cast<const StackWord*>(address);
}

/// One capture that may join the previous one.
class Capture {
 public:
  Capture(StackMemory& memory, std::uintptr_t bottom, std::uintptr_t top) noexcept
      : m_(memory), bottom_(bottom), top_(top) {}

  /// \return false if the stack has to be walked in full
  [[gnu::always_inline]] inline bool run(Registers at) noexcept {
    OldFrame* met = &m_.old[m_.depth];  // the newest old frame that may still be met
    NewFrame* f = m_.leaf();
    while (!meets(&met, at)) {
      if (MALLARD_UNLIKELY(f == m_.fresh)) return false;
      f->set(at);
      if (unwind::QuickRule rule;
          MALLARD_LIKELY(unwind::g_quick_rules.find(at.pc - 1, generation_bits_, &rule) && !at.exact)) {
        if (MALLARD_UNLIKELY(!step(rule, *f, &at))) return false;
      } else {
        Registers older = at;
        if (!step_oddly(*f, &older)) return false;
        at = older;
        if (f->link_at == 0) at.pc = 0;
      }
      --f;
      if (MALLARD_UNLIKELY(at.pc < kPageBytes)) {  // that was a root: nothing is met
        met = m_.old;
        break;
      }
    }
    if (f == m_.leaf() && met == &m_.old[m_.depth]) return true;  // all is as it was
    m_.walked += static_cast<std::uint32_t>(m_.leaf() - f);
    m_.apart += met == m_.old;
    f->set(at);
    return keep(met, f);
  }

 private:
  bool on_stack(std::uintptr_t address) const noexcept {
    return address >= bottom_ && address <= top_ - sizeof(std::uintptr_t);
  }

  /// Looks for the present frame among the old ones. \return true if all that is older is unchanged
  [[gnu::always_inline]] inline bool meets(OldFrame** candidate, const Registers& at) const noexcept {
    OldFrame* old = *candidate;
    while (old->sp < at.sp) --old;
    *candidate = old;
    if (old->sp != at.sp || old->pc != at.pc || old->exact != at.exact ||
        (old->uses_frame && old->frame != at.frame))
      return false;
    const Input* const changed = newest_changed(m_.inputs + old->inputs);
    if (MALLARD_LIKELY(changed == m_.inputs + kInputs)) return true;
    // Frames whose way to the root leads over the changed word cannot be met any more.
    while (m_.inputs + old->inputs <= changed) --old;
    *candidate = old;
    return false;
  }

  /// Compares the inputs from `input` on with the stack, newest first. \return the newest that differs, or
  /// the end
  const Input* newest_changed(const Input* input) const noexcept {
    const Input* const end = m_.inputs + kInputs;
    const auto holds = [](const Input* at) noexcept {
      return MALLARD_LIKELY(word_at(at->address) == at->value);
    };
    for (; input + 4 <= end; input += 4) {
      if (!holds(input)) return input;
      if (!holds(input + 1)) return input + 1;
      if (!holds(input + 2)) return input + 2;
      if (!holds(input + 3)) return input + 3;
    }
    while (input != end && holds(input)) ++input;
    return input;
  }

  /// Goes from `f` to the next older frame and notes what that takes. \return false if only a full walk can
  /// tell
  [[gnu::always_inline]] inline bool step(unwind::QuickRule rule, NewFrame& f, Registers* at) const noexcept {
    const bool from_frame = rule.from_frame();
    f.uses_frame = from_frame;
    f.odd = false;
    const std::uintptr_t cfa = (from_frame ? at->frame : at->sp) + rule.cfa_offset();
    // Upwards only: a full walk knows how to follow a jump between stacks.
    if (MALLARD_UNLIKELY(cfa <= at->sp || cfa > top_)) return false;
    f.frame_at = 0;
    if (rule.saves_frame()) {
      const std::uintptr_t frame_at = cfa + rule.frame_offset();
      if (MALLARD_UNLIKELY(!on_stack(frame_at))) return false;
      f.frame_at = frame_at;
      at->frame = word_at(frame_at);
    }
    at->pc = word_at(cfa + unwind::offset(arch::kReturnOffset));
    at->sp = cfa;
    return true;
  }

  /// Every other step: rules that are not at hand, roots, signals, realigned stacks, generated code.
  MALLARD_NOINLINE bool step_oddly(NewFrame& f, Registers* at) const noexcept {
    unwind::Rule rule;
    const std::uint16_t generation = unwind::g_rules.generation();
    if (!unwind::rule_at(at->pc - (at->exact ? 0 : 1), generation, &rule)) return false;
    const unwind::PackedRule packed(rule, generation);
    if (!at->exact && unwind::QuickRule::can_be(packed)) unwind::keep_quick_rule(at->pc - 1, packed);
    f.odd = true;
    f.link_at = f.other_at = f.frame_at = 0;
    f.uses_frame = rule.kind != unwind::RuleKind::kFromSp;
    const std::uintptr_t frame = at->frame;
    std::uintptr_t cfa =
        (rule.kind == unwind::RuleKind::kFromSp ? at->sp : frame) + unwind::offset(rule.cfa_offset);
    std::uintptr_t frame_at = cfa + unwind::offset(rule.frame_offset);
    if (rule.kind > unwind::RuleKind::kFromFrame) {
      if (rule.kind == unwind::RuleKind::kSignal) return step_over_signal(f, at);
      if (rule.kind == unwind::RuleKind::kLibunwind) return false;
      if (rule.kind == unwind::RuleKind::kEnd) return end(f, false);
      if (rule.kind == unwind::RuleKind::kNoInfo) {
        if (frame - at->sp > unwind::kNearFrameBytes || frame % 8 != 0) return end(f, true);
        frame_at = frame;
        cfa = frame + arch::kLinkedFrameBytes;
        rule.saves_frame = true;
      } else {  // kFromFrameSlot
        if (!on_stack(cfa)) return false;
        frame_at = frame + unwind::offset(rule.frame_offset);
        f.other_at = cfa;
        f.other = cfa = word_at(cfa);
      }
    }
    if (cfa <= at->sp || cfa > top_) return false;
    if (rule.saves_frame) {
      if (!on_stack(frame_at)) return false;
      f.frame_at = frame_at;
      at->frame = word_at(frame_at);
    }
    f.link_at = cfa + unwind::offset(arch::kReturnOffset);
    at->pc = word_at(cfa + unwind::offset(arch::kReturnOffset));
    at->sp = cfa;
    at->exact = false;
    return true;
  }

  bool step_over_signal(NewFrame& f, Registers* at) const noexcept {
    const std::uintptr_t signal = at->sp;
    if (!on_stack(signal + arch::kSignalPc) || !on_stack(signal + arch::kSignalFrame)) return false;
    const std::uintptr_t sp = word_at(signal + arch::kSignalSp);
    if (sp <= signal || !on_stack(sp)) return false;  // the handler has a stack of its own
    f.link_at = signal + arch::kSignalPc;
    f.other_at = signal + arch::kSignalSp;
    f.other = sp;
    f.frame_at = signal + arch::kSignalFrame;
    f.uses_frame = false;
    *at = {word_at(f.link_at), sp, word_at(f.frame_at), true};
    return true;
  }

  static bool end(NewFrame& f, bool uses_frame) noexcept {
    f.uses_frame = uses_frame;
    return true;
  }

  /// Puts the new frames, up to `end`, on top of the old one that was met.
  [[gnu::always_inline]] inline bool keep(OldFrame* top, const NewFrame* end) noexcept {
    if (MALLARD_UNLIKELY(top - m_.old + (m_.leaf() - end) > unwind::kMaxDepth)) return false;
    PathHash path = top->path;
    std::uint32_t inputs = top->inputs;
    bool uses_frame = top->uses_frame;
    m_.depth = 0;  // a handler may leave by siglongjmp
    std::atomic_signal_fence(std::memory_order_seq_cst);
    for (const NewFrame* f = end; f != m_.leaf();) {
      const NewFrame& older = *f++;
      path = path_below(path, f->pc);
      std::uintptr_t link_at = older.sp - sizeof(std::uintptr_t);
      if (MALLARD_UNLIKELY(f->odd)) {
        link_at = f->link_at;
        if (f->other_at) m_.inputs[--inputs] = {f->other_at, f->other};
      }
      // The older frame pointer is no input unless somebody uses it: compilers keep other things there.
      if (uses_frame && f->frame_at) m_.inputs[--inputs] = {f->frame_at, older.frame};
      if (MALLARD_LIKELY(link_at != 0)) m_.inputs[--inputs] = {link_at, older.pc};
      uses_frame = f->uses_frame || (uses_frame && !f->frame_at);
      *++top = {f->pc,      f->sp,   f->frame, path, kRoot, static_cast<std::uint16_t>(inputs),
                uses_frame, f->exact};
    }
    const auto depth = static_cast<std::int32_t>(top - m_.old);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    m_.depth = depth;
    return true;
  }

  StackMemory& m_;
  const std::uintptr_t bottom_, top_;
  const std::uint64_t generation_bits_ = unwind::QuickRules::generation_bits(unwind::g_rules.generation());
};

}  // namespace

void begin_stack_memory(StackMemory& memory) noexcept { forget_all(memory, 0, 0); }

PathHash capture_path(const arch::Caller& caller, StackMemory& memory) noexcept {
  if (MALLARD_UNLIKELY(++memory.captured >= kFlushEvery)) flush_stats(memory);
  const std::uintptr_t top = unwind::own_stack_top(caller.return_slot);
  if (MALLARD_LIKELY(top != 0)) {
    const std::uint64_t epoch = unwind::code_epoch();
    // Another top: the memory was another thread's.
    if (MALLARD_UNLIKELY(memory.epoch != epoch || memory.top != top)) forget_all(memory, epoch, top);
    Capture capture(memory, caller.return_slot, top);
    if (MALLARD_LIKELY(
            capture.run({caller.pc, caller.return_slot + sizeof(std::uintptr_t), caller.frame, false})))
      return memory.old[memory.depth].path;
  }
  ++memory.in_full;
  return 0;
}

MALLARD_NOINLINE SiteId site_of_path(StackMemory& memory) noexcept {
  OldFrame* const leaf = &memory.old[memory.depth];
  OldFrame* frame = leaf;
  while (frame->node == kRoot && frame != memory.old) --frame;
  for (; frame != leaf; ++frame) {
    const unwind::PcIndex index = unwind::pc_index(frame[1].pc);
    if (MALLARD_UNLIKELY(index == unwind::kNoPc)) return kOverflowSite;
    frame[1].node = context_child(frame->node, index);
    if (MALLARD_UNLIKELY(frame[1].node == kRoot)) return kOverflowSite;
  }
  return site_at(leaf->node, memory.depth);
}

MALLARD_NOINLINE SiteId capture_in_full(const arch::Caller& caller) noexcept {
  std::uintptr_t pcs[unwind::kMaxDepth];
  return intern_site(pcs, unwind::capture_stack(caller, pcs, unwind::kMaxDepth));
}

SiteId capture_site(const arch::Caller& caller, StackMemory* memory) noexcept {
  if (MALLARD_LIKELY(memory != nullptr)) {
    if (MALLARD_LIKELY(capture_path(caller, *memory) != 0)) return site_of_path(*memory);
  } else {
    g_stats.captured.fetch_add(1, std::memory_order_relaxed);
    g_stats.in_full.fetch_add(1, std::memory_order_relaxed);
  }
  return capture_in_full(caller);
}

IncrementalStats incremental_stats() noexcept {
  const auto value = [](const std::atomic<std::uint64_t>& c) noexcept {
    return c.load(std::memory_order_relaxed);
  };
  const std::uint64_t captured = value(g_stats.captured), in_full = value(g_stats.in_full);
  return {captured, captured - value(g_stats.apart) - in_full, value(g_stats.walked), in_full};
}

}  // namespace mallard::record
