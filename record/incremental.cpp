// SPDX-License-Identifier: Apache-2.0
// What makes a join right: unwinding from a frame on depends on its pc, its stack pointer, its rbp if an
// older rule uses it before it is restored, the rules, and the words that are read on the way, and on nothing
// else. A frame is met again if the first three are the same, rules are the same while code_epoch() is, and
// every word is compared, newest first. All words lie on the thread's own stack above the stack pointer,
// where reading never faults; a walk that leaves it is done in full, and nothing is kept of it.
#include "record/incremental.hpp"

#include <atomic>

#include "record/code_addresses.hpp"
#include "record/rule_lookup.hpp"
#include "record/unwinder_memory.hpp"

namespace mallard::record {
namespace {

using StackWord __attribute__((may_alias)) = std::uintptr_t;

/// A word that unwinding read.
struct Input {
  std::uintptr_t address, value;
};

/// A frame of the previous capture.
struct OldFrame {
  std::uintptr_t pc, sp, frame;
  NodeId node;
  std::uint16_t inputs;  ///< words read on the way from here to the root: the first so many
  bool uses_frame;       ///< whether an older rule, or this one, uses rbp as it is here
  bool exact;            ///< pc is the next instruction itself, not a return address
};

/// A frame that is unwound now, and the step that leads out of it.
struct NewFrame {
  std::uintptr_t pc, sp, frame;
  std::uintptr_t link_at, link;    ///< where the older pc was read, and what; 0 = nowhere: a root
  std::uintptr_t other_at, other;  ///< a word that the CFA was taken from; 0 = none
  std::uintptr_t frame_at;         ///< where the older rbp was read; 0 = it stayed
  std::uintptr_t older_frame;      ///< the older rbp
  PcIndex index;
  bool exact, uses_frame, ends_here;
};

constexpr std::uint32_t kInputs = 3 * kMaxDepth;
constexpr std::uint32_t kFlushEvery = 256;

}  // namespace

struct StackMemory {
  std::uint64_t epoch;
  std::uintptr_t top;  ///< of the stack, which every input lies below
  std::int32_t depth;  ///< frames of the previous capture
  std::uint32_t captured, joined, walked, in_full;
  OldFrame old[kMaxDepth];    ///< root first
  Input inputs[kInputs];      ///< likewise
  NewFrame fresh[kMaxDepth];  ///< leaf first; only while a capture is under way
};

namespace {

struct {
  std::atomic<std::uint64_t> captured{0}, joined{0}, walked{0}, in_full{0};
} constinit g_stats;

void flush(std::uint32_t& from, std::atomic<std::uint64_t>& to) noexcept {
  to.fetch_add(from, std::memory_order_relaxed);
  from = 0;
}

MALLARD_COLD void flush_stats(StackMemory& m) noexcept {
  flush(m.captured, g_stats.captured);
  flush(m.joined, g_stats.joined);
  flush(m.walked, g_stats.walked);
  flush(m.in_full, g_stats.in_full);
}

inline std::uintptr_t word_at(std::uintptr_t address) noexcept {
  return *reinterpret_cast<const StackWord*>(address);
}

/// One capture that may join the previous one.
class Capture {
 public:
  Capture(StackMemory& memory, const Caller& caller, std::uintptr_t top) noexcept
      : m_(memory),
        bottom_(caller.return_slot),
        room_(top - caller.return_slot - (sizeof(std::uintptr_t) - 1)),
        pc_(caller.pc),
        sp_(caller.return_slot + sizeof(std::uintptr_t)),
        frame_(caller.frame),
        candidate_(memory.depth - 1) {}

  /// \return false if the stack has to be walked in full
  bool run(SiteId* site) noexcept {
    for (;;) {
      if (meets_old_frame()) break;
      if (MALLARD_UNLIKELY(n_ == kMaxDepth)) return false;
      NewFrame& f = m_.fresh[n_];
      if (MALLARD_UNLIKELY(!step(f))) return false;
      ++n_;
      if (f.ends_here) break;
    }
    if (MALLARD_UNLIKELY(base_ + n_ > kMaxDepth)) return false;
    return keep(site);
  }

  std::int32_t walked() const noexcept { return n_; }
  bool joined() const noexcept { return base_ != 0; }

 private:
  bool on_stack(std::uintptr_t address) const noexcept { return address - bottom_ < room_; }

  /// Looks for the present frame among the old ones. \return true if all that is older is unchanged
  bool meets_old_frame() noexcept {
    while (candidate_ >= 0 && m_.old[candidate_].sp < sp_) --candidate_;
    if (candidate_ < 0) return false;
    const OldFrame& old = m_.old[candidate_];
    if (old.sp != sp_ || old.pc != pc_ || old.exact != exact_ || (old.uses_frame && old.frame != frame_))
      return false;
    const std::int32_t changed = newest_changed(old.inputs);
    if (MALLARD_LIKELY(changed < 0)) {
      base_ = candidate_ + 1;
      return true;
    }
    // Frames whose way to the root leads over the changed word cannot be met any more.
    while (candidate_ >= 0 && m_.old[candidate_].inputs > changed) --candidate_;
    return false;
  }

  /// Compares the first `count` inputs with the stack, newest first. \return the newest that differs; -1:
  /// none
  std::int32_t newest_changed(std::int32_t count) const noexcept {
    const Input* const inputs = m_.inputs;
    std::int32_t i = count;
    for (; i >= 4; i -= 4) {
      const Input* four = inputs + i - 4;
      const std::uintptr_t difference =
          (word_at(four[0].address) ^ four[0].value) | (word_at(four[1].address) ^ four[1].value) |
          (word_at(four[2].address) ^ four[2].value) | (word_at(four[3].address) ^ four[3].value);
      if (MALLARD_UNLIKELY(difference != 0)) break;
    }
    while (--i >= 0)
      if (word_at(inputs[i].address) != inputs[i].value) break;
    return i;
  }

  /// Goes from the present frame to the next older one and notes what that took. \return false if only a full
  /// walk can tell
  bool step(NewFrame& f) noexcept {
    Rule rule;
    std::uint32_t entry;
    if (MALLARD_UNLIKELY(!rule_at(pc_ - (exact_ ? 0 : 1), generation_, &rule, &entry))) return false;
    f.pc = pc_;
    f.sp = sp_;
    f.frame = frame_;
    f.exact = exact_;
    f.index = entry;
    if (MALLARD_UNLIKELY(exact_ || entry == RuleTable::kNone)) {
      f.index = exact_ ? pc_index(pc_) : generated_pc_index(pc_);
      if (f.index == kNoPc) return false;
    }
    f.link_at = f.other_at = f.frame_at = 0;
    f.ends_here = false;
    f.uses_frame = rule.kind != RuleKind::kFromSp;
    std::uintptr_t cfa = (rule.kind == RuleKind::kFromSp ? sp_ : frame_) + offset(rule.cfa_offset);
    std::uintptr_t frame_at = cfa + offset(rule.frame_offset);
    if (MALLARD_UNLIKELY(rule.kind > RuleKind::kFromFrame)) {
      if (rule.kind == RuleKind::kSignal) return step_over_signal(f);
      if (rule.kind == RuleKind::kLibunwind) return false;
      if (rule.kind == RuleKind::kEnd) return end(f, false);
      if (rule.kind == RuleKind::kNoInfo) {
        if (frame_ - sp_ > kNearFrameBytes || frame_ % 8 != 0) return end(f, true);
        frame_at = frame_;
        cfa = frame_ + 16;
        rule.saves_frame = true;
      } else {  // kFromFrameSlot
        if (!on_stack(cfa)) return false;
        frame_at = frame_ + offset(rule.frame_offset);
        f.other_at = cfa;
        f.other = cfa = word_at(cfa);
      }
    }
    // Upwards only: a full walk knows how to follow a jump between stacks.
    if (MALLARD_UNLIKELY(cfa <= sp_ || !on_stack(cfa - 8))) return false;
    if (rule.saves_frame) {
      if (MALLARD_UNLIKELY(!on_stack(frame_at))) return false;
      f.frame_at = frame_at;
      frame_ = word_at(frame_at);
    }
    f.older_frame = frame_;
    f.link_at = cfa - 8;
    f.link = pc_ = word_at(cfa - 8);
    sp_ = cfa;
    exact_ = false;
    f.ends_here = pc_ < kPageBytes;
    return true;
  }

  bool step_over_signal(NewFrame& f) noexcept {
    if (!on_stack(sp_ + kSignalPc) || !on_stack(sp_ + kSignalFrame)) return false;
    const std::uintptr_t sp = word_at(sp_ + kSignalSp);
    if (sp <= sp_ || !on_stack(sp)) return false;  // the handler has a stack of its own
    f.link_at = sp_ + kSignalPc;
    f.link = pc_ = word_at(f.link_at);
    f.other_at = sp_ + kSignalSp;
    f.other = sp;
    f.frame_at = sp_ + kSignalFrame;
    f.older_frame = frame_ = word_at(f.frame_at);
    f.uses_frame = false;
    sp_ = sp;
    exact_ = true;
    f.ends_here = pc_ < kPageBytes;
    return true;
  }

  static bool end(NewFrame& f, bool uses_frame) noexcept {
    f.uses_frame = uses_frame;
    f.ends_here = true;
    return true;
  }

  /// Puts the new frames on top of the old ones that were met.
  bool keep(SiteId* site) noexcept {
    NodeId node = kRoot;
    std::uint32_t inputs = 0;
    bool uses_frame = false;
    if (base_ != 0) {
      const OldFrame& met = m_.old[base_ - 1];
      node = met.node;
      inputs = met.inputs;
      uses_frame = met.uses_frame;
    }
    m_.depth = 0;  // a handler may leave by siglongjmp
    std::atomic_signal_fence(std::memory_order_seq_cst);
    for (std::int32_t i = n_ - 1; i >= 0; --i) {
      const NewFrame& f = m_.fresh[i];
      node = context_child(node, f.index);
      if (MALLARD_UNLIKELY(node == kRoot)) return false;
      if (f.other_at) m_.inputs[inputs++] = {f.other_at, f.other};
      // The older rbp is no input unless somebody uses it: compilers keep other things there.
      if (uses_frame && f.frame_at) m_.inputs[inputs++] = {f.frame_at, f.older_frame};
      if (f.link_at) m_.inputs[inputs++] = {f.link_at, f.link};
      uses_frame = f.uses_frame || (uses_frame && !f.frame_at);
      m_.old[base_ + n_ - 1 - i] = {f.pc,       f.sp,   f.frame, node, static_cast<std::uint16_t>(inputs),
                                    uses_frame, f.exact};
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    m_.depth = base_ + n_;
    *site = site_at(node, m_.depth);
    return true;
  }

  StackMemory& m_;
  const std::uintptr_t bottom_, room_;
  std::uintptr_t pc_, sp_, frame_;
  const std::uint16_t generation_ = g_rules.generation();
  bool exact_ = false;
  std::int32_t candidate_;  ///< the newest old frame that may still be met
  std::int32_t base_ = 0;   ///< old frames that stay
  std::int32_t n_ = 0;      ///< new frames
};

MALLARD_NOINLINE SiteId capture_in_full(const Caller& caller) noexcept {
  std::uintptr_t pcs[kMaxDepth];
  return intern_site(pcs, capture_stack(caller, pcs, kMaxDepth));
}

}  // namespace

std::size_t stack_memory_bytes() noexcept { return sizeof(StackMemory); }

SiteId capture_site(const Caller& caller, StackMemory* memory) noexcept {
  if (MALLARD_UNLIKELY(!memory)) {
    g_stats.captured.fetch_add(1, std::memory_order_relaxed);
    g_stats.in_full.fetch_add(1, std::memory_order_relaxed);
    return capture_in_full(caller);
  }
  if (MALLARD_UNLIKELY(++memory->captured == kFlushEvery)) flush_stats(*memory);
  const std::uintptr_t top = own_stack_top(caller.return_slot);
  if (MALLARD_LIKELY(top != 0)) {
    const std::uint64_t epoch = code_epoch();
    // Another top: the memory was another thread's.
    if (MALLARD_UNLIKELY(memory->epoch != epoch || memory->top != top)) {
      memory->epoch = epoch;
      memory->top = top;
      memory->depth = 0;
    }
    Capture capture(*memory, caller, top);
    SiteId site;
    const bool done = capture.run(&site);
    if (MALLARD_LIKELY(done)) {
      memory->walked += static_cast<std::uint32_t>(capture.walked());
      memory->joined += capture.joined();
      return site;
    }
  }
  ++memory->in_full;
  return capture_in_full(caller);
}

IncrementalStats incremental_stats() noexcept {
  const auto value = [](const std::atomic<std::uint64_t>& c) noexcept {
    return c.load(std::memory_order_relaxed);
  };
  return {value(g_stats.captured), value(g_stats.joined), value(g_stats.walked), value(g_stats.in_full)};
}

}  // namespace mallard::record
