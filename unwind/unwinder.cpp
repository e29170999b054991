// SPDX-License-Identifier: Apache-2.0
#include "unwind/unwinder.hpp"

#include <link.h>

#include <cstring>
#include <iterator>

#include "arch/frames.hpp"
#include "arch/libunwind.hpp"
#include "base/lock.hpp"
#include "base/os.hpp"
#include "unwind/cfi.hpp"
#include "unwind/unwind_table.hpp"

namespace mallard::unwind {
namespace {

// Made-up registers are not canonical, so that no real address looks like one: a tag in the top 16 bits,
// and an offset around the middle of the rest. What lies in made-up memory tells where it was read from.
constexpr std::uintptr_t made_up(std::uintptr_t tag) noexcept { return tag << 48 | std::uintptr_t{1} << 47; }
constexpr std::uintptr_t kMadeUpSp = made_up(0x1000), kMadeUpFrame = made_up(0x2000);
constexpr std::uintptr_t kContentsOf = std::uintptr_t{0x0100} << 48;

constexpr bool is_made_up(std::uintptr_t address) noexcept {
  const std::uintptr_t tag = address >> 48 & 0xf0ff;
  return (tag == 0x1000 || tag == 0x2000) && (address >> 56 & 0xf) < 4;
}
/// Whether `address` is `base` plus an offset that a rule can hold.
constexpr bool is_near(std::uintptr_t address, std::uintptr_t base, std::int32_t* offset) noexcept {
  const auto distance = static_cast<std::int64_t>(address - base);
  *offset = static_cast<std::int32_t>(distance);
  return distance == *offset;
}

MALLARD_FORK_DATA constinit Lock lock;
constinit thread_local bool t_inside = false;
constinit unw_addr_space_t space = nullptr;

/// Entry to libunwind. The flag stands outside the lock, so that a handler interrupting either sees it.
class Session {
 public:
  Session() noexcept : entered_(!t_inside && space) {
    if (!entered_) return;
    t_inside = true;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    lock.lock();
  }
  ~Session() {
    if (!entered_) return;
    lock.unlock();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    t_inside = false;
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  explicit operator bool() const noexcept { return entered_; }

 private:
  bool entered_;
};

/// One unwind: what the accessors answer from. Guarded by `lock`, as is everything of libunwind.
struct Target {
  StackReader* stack;  ///< nullptr: made-up memory only
  std::uintptr_t registers[arch::kUnwindRegisters];
  std::uint32_t known;  ///< bit per register
  Module module;        ///< the last one found
  Segment segment;      ///< a readable one of it, the last one found
  bool has_info;        ///< whether unwind information was found
};
constinit Target target{};
constinit unw_cursor_t cursor{};  // 1 KiB, which a thread's stack may not have

bool read_word(std::uintptr_t address, std::uintptr_t* word) noexcept {
  if (is_made_up(address)) {
    *word = address + kContentsOf;
    return !target.stack;
  }
  if (!target.segment.holds(address)) {
    const Segment segment = find_segment(target.module, address);
    if (!segment.holds(address))
      return target.stack ? target.stack->read(address, word)
                          : os::copy_if_readable(word, address, sizeof *word);
    target.segment = segment;
  }
  // libunwind reads aligned words around what it wants; the last one may hang over the end.
  if (!target.segment.holds(address, sizeof *word)) return os::copy_if_readable(word, address, sizeof *word);
  std::memcpy(word, reinterpret_cast<const void*>(address), sizeof *word);
  return true;
}

int access_mem(unw_addr_space_t, unw_word_t address, unw_word_t* word, int write, void*) noexcept {
  return !write && read_word(address, word) ? 0 : -UNW_EINVAL;
}

int access_reg(unw_addr_space_t, unw_regnum_t reg, unw_word_t* value, int write, void*) noexcept {
  if (write || reg < 0 || reg >= arch::kUnwindRegisters || !(target.known >> reg & 1)) return -UNW_EBADREG;
  *value = target.registers[reg];
  return 0;
}

int find_proc_info(unw_addr_space_t as, unw_word_t code, unw_proc_info_t* info, int need_info,
                   void* arg) noexcept {
  Module& module = target.module;
  if ((code < module.start || code >= module.end) && !find_module(code, &module)) return -UNW_ENOINFO;
  std::uintptr_t words[2];
  if (!module.table || !read_word(module.table, &words[0]) || !read_word(module.table + 8, &words[1]))
    return -UNW_ENOINFO;
  TableHeader header;
  std::memcpy(&header, words, sizeof header);
  if (!header.is_usual()) return -UNW_ENOINFO;
  unw_dyn_info_t table{};
  table.start_ip = module.start;
  table.end_ip = module.end;
  table.format = UNW_INFO_FORMAT_REMOTE_TABLE;
  table.u.rti.segbase = module.table;
  table.u.rti.table_data = module.table + sizeof header;
  table.u.rti.table_len = header.count;  // in words: one per entry
  const int r = unwind_search_table(as, code, &table, info, need_info, arg);
  if (r >= 0) target.has_info = true;
  return r;
}

void put_unwind_info(unw_addr_space_t, unw_proc_info_t*, void*) noexcept {}
int no_dynamic_info(unw_addr_space_t, unw_word_t*, void*) noexcept { return -UNW_ENOINFO; }
int no_fpreg(unw_addr_space_t, unw_regnum_t, unw_fpreg_t*, int, void*) noexcept { return -UNW_EBADREG; }
int no_resume(unw_addr_space_t, unw_cursor_t*, void*) noexcept { return -UNW_EINVAL; }
int no_name(unw_addr_space_t, unw_word_t, char*, std::size_t, unw_word_t*, void*) noexcept {
  return -UNW_ENOINFO;
}

void set(int reg, std::uintptr_t value) noexcept {
  target.registers[reg] = value;
  target.known |= 1u << reg;
}

std::uintptr_t get(int reg, bool* ok) noexcept {
  unw_word_t value = 0;
  *ok = unw_get_reg(&cursor, reg, &value) >= 0;
  return value;
}

bool is_signal_return_at(const Module& module, std::uintptr_t pc) noexcept {
  char code[arch::kSignalReturnBytes];
  if (find_segment(module, pc).holds(pc, sizeof code))
    std::memcpy(code, reinterpret_cast<const void*>(pc), sizeof code);
  else if (!os::copy_if_readable(code, pc, sizeof code)) return false;
  return arch::is_signal_return(code);
}

Rule rule_from_step() noexcept {
  bool has_cfa, has_pc, has_frame;
  const std::uintptr_t cfa = get(UNW_REG_SP, &has_cfa), pc = get(UNW_REG_IP, &has_pc);
  const std::uintptr_t frame = get(arch::kUnwindFrame, &has_frame);
  Rule rule{RuleKind::kLibunwind};
  if (!has_cfa || !has_pc || !has_frame || pc != cfa + static_cast<std::uintptr_t>(std::intptr_t{arch::kReturnOffset}) + kContentsOf) return rule;
  rule.saves_frame = frame != kMadeUpFrame;
  const std::uintptr_t saved_at = frame - kContentsOf;
  std::int32_t cfa_offset, frame_offset = 0;
  RuleKind kind;
  std::uintptr_t frame_base = cfa;
  if (is_near(cfa, kMadeUpSp, &cfa_offset)) {
    kind = RuleKind::kFromSp;
  } else if (is_near(cfa, kMadeUpFrame, &cfa_offset)) {
    kind = RuleKind::kFromFrame;
  } else if (is_near(cfa, kMadeUpFrame + kContentsOf, &cfa_offset)) {
    kind = RuleKind::kFromFrameSlot;
    frame_base = kMadeUpFrame;
  } else {
    return rule;
  }
  if (rule.saves_frame && !is_near(saved_at, frame_base, &frame_offset)) return rule;
  rule.kind = kind;
  rule.cfa_offset = cfa_offset;
  rule.frame_offset = frame_offset;
  return rule;
}

Rule step_once(std::uintptr_t code) noexcept {
  target.has_info = false;
  set(arch::kUnwindPc, code);  // where a cursor starts, libunwind looks exactly there
  set(arch::kUnwindSp, kMadeUpSp);
  set(arch::kUnwindFrame, kMadeUpFrame);
  if (unw_init_remote(&cursor, space, nullptr) < 0) return {RuleKind::kLibunwind};
  const int step = unw_step(&cursor);
  if (!target.has_info) return {RuleKind::kNoInfo};
  if (step == 0) return {RuleKind::kEnd};
  return step > 0 ? rule_from_step() : Rule{RuleKind::kLibunwind};
}

}  // namespace

bool unwinder_init() noexcept {
  if (space) return true;
  modules_init();
  static constinit unw_accessors_t accessors{
      .find_proc_info = find_proc_info,
      .put_unwind_info = put_unwind_info,
      .get_dyn_info_list_addr = no_dynamic_info,
      .access_mem = access_mem,
      .access_reg = access_reg,
      .access_fpreg = no_fpreg,
      .resume = no_resume,
      .get_proc_name = no_name,
  };
  unwind_dwarf_init();
  space = unw_create_addr_space(&accessors, 0);
  return space && unw_set_caching_policy(space, UNW_CACHE_NONE) >= 0;
}

bool compile_rule(std::uintptr_t code, const Module& module, Rule* out) noexcept {
  if (is_signal_return_at(module, code + 1)) {
    *out = {RuleKind::kSignal};
    return true;
  }
  const Segment segment = find_segment(module, module.table);
  return rule_from_cfi(code, module.table, segment, out) || rule_by_libunwind(code, module, out);
}

bool rule_by_libunwind(std::uintptr_t code, const Module& module, Rule* out) noexcept {
  Session session;
  if (!session) return false;
  target = {};
  target.module = module;
  *out = step_once(code);
  return true;
}

int unwinder_at_signal_frame(void*) noexcept {
  bool ok;
  const std::uintptr_t pc = get(UNW_REG_IP, &ok);
  std::uintptr_t words[2];
  return ok && read_word(pc, &words[0]) && read_word(pc + 8, &words[1]) && arch::is_signal_return(words) ? 1 : 0;
}

// The registers of the caller that malloc had to preserve are somewhere on our own frames: start here
// and step out of them.
MALLARD_NOINLINE int unwind_fully(const Caller& caller, StackReader& stack, std::uintptr_t* pcs, int max,
                                  bool* truncated) noexcept {
  Session session;
  if (!session) return 0;
  target = {};
  target.stack = &stack;
  std::uintptr_t here[8];
  arch::store_preserved(here);
  for (std::size_t i = 0; i < std::size(here); ++i) set(arch::kUnwindPreserved[i], here[i]);

  constexpr int kOwnFrames = 16;
  const std::uintptr_t sp = caller.return_slot + sizeof(std::uintptr_t);
  bool ok = false, at_caller = false;
  if (unw_init_remote(&cursor, space, nullptr) >= 0)
    for (int i = 0; i < kOwnFrames && !at_caller && unw_step(&cursor) > 0; ++i)
      at_caller = get(UNW_REG_SP, &ok) == sp && get(UNW_REG_IP, &ok) == caller.pc;
  if (!at_caller) {
    target.known = 0;
    set(arch::kUnwindPc, caller.pc - 1);  // within the call, for the reason in step_once()
    set(arch::kUnwindSp, sp);
    set(arch::kUnwindFrame, caller.frame);
    if (unw_init_remote(&cursor, space, nullptr) < 0) return 0;
  }

  int n = 0, step = 1;
  pcs[n++] = caller.pc;
  while (n < max && (step = unw_step(&cursor)) > 0) {
    const std::uintptr_t pc = get(UNW_REG_IP, &ok);
    if (!ok || pc < kPageBytes) break;
    pcs[n++] = pc;
  }
  *truncated = step != 0;
  return n;
}

// The flag too: a handler that runs between the two and allocates must not wait for its own thread.
MALLARD_FORK_TEXT void unwinder_before_fork() noexcept {
  t_inside = true;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  lock.lock();
}
MALLARD_FORK_TEXT void unwinder_after_fork() noexcept {
  lock.unlock();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  t_inside = false;
}

}  // namespace mallard::unwind
