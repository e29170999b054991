// SPDX-License-Identifier: Apache-2.0
#include "inside/take_over.hpp"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include <new>

#include "arch/code.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/outcome.hpp"
#include "inside/plan.hpp"

namespace mallard::inside {
namespace {

using arch::kStubBytes;

/// Reads "Threads:" of /proc/self/status.
bool has_one_thread() noexcept {
  char text[4096];
  const long length = os::read_file("/proc/self/status", text, sizeof text);
  if (length <= 0) return false;
  const char* at = static_cast<const char*>(
      memmem(text, static_cast<std::size_t>(length), "\nThreads:\t1\n", sizeof "\nThreads:\t1\n" - 1));
  return at != nullptr;
}

template <std::size_t n>
void copy_text(char (&to)[n], std::string_view text) noexcept {
  TextBuffer(to, n).add(text);
}

class Takeover {
 public:
  Takeover(TakeoverPlan& plan, FindAnswer find_answer) noexcept : plan_(plan), find_answer_(find_answer) {}

  bool run() noexcept {
    return is_possible_now() && make_stubs() && open_code() && (write_jumps(), close_code(), true);
  }

 private:
  bool refuse(std::string_view why, std::string_view next = {}) noexcept {
    plan_.why.clear();
    plan_.why.add(why);
    plan_.next.clear();
    plan_.next.add(next);
    return false;
  }

  unsigned char* at(const TakeoverEntry& e) const noexcept {
    return reinterpret_cast<unsigned char*>(elf::first_object()->l_addr + e.address);
  }

  bool is_possible_now() noexcept {
    const link_map* first = elf::find_definer(elf::first_object(), "malloc");
    const link_map* own = elf::own_object();
    if (!own || (first && first != own && first != elf::first_object()))
      return refuse("malloc belongs to a library that is preloaded before mallard",
                    "put libmallard.so first in LD_PRELOAD");
    if (!has_one_thread()) return refuse("a thread runs already, or /proc cannot be read");
    std::uintptr_t begin, end;
    if (!elf::text_range(elf::first_object(), &begin, &end))
      return refuse("its program headers cannot be read");
    lowest_ = ~std::uintptr_t{0};
    for (std::size_t i = 0; i < plan_.count; ++i) {
      const std::uintptr_t where = address_of(at(plan_.entries[i]));
      if (where < begin || where > end - kJumpBytes) return refuse("its file is not the program that runs");
      if (memcmp(at(plan_.entries[i]), plan_.entries[i].bytes, kJumpBytes) != 0)
        return refuse("its code in memory differs from its file: a debugger or another tool has changed it");
      if (where < lowest_) lowest_ = where;
      if (where + kJumpBytes > highest_) highest_ = where + kJumpBytes;
    }
    const char* why = nullptr;
    return has_not_run(&why) || refuse(view_of(why));
  }

  /// Executable memory near the program, with a jump to each function of ours.
  bool make_stubs() noexcept {
    stub_bytes_ = align_up(plan_.count * kStubBytes, kPageBytes);
    stubs_ = static_cast<unsigned char*>(os::map_near(lowest_, highest_, stub_bytes_));
    if (!stubs_) return refuse("there is no free memory within 1 GiB of its code");
    for (std::size_t i = 0; i < plan_.count; ++i) {
      const void* to = find_answer_(plan_.entries[i].target);
      if (!to) {
        os::unmap(stubs_, stub_bytes_);
        return refuse("libmallard.so has no function for one of its entry points");
      }
      arch::write_stub(stubs_ + i * kStubBytes, to, plan_.entries[i].drops_first);
    }
    if (os::protect(stubs_, stub_bytes_, PROT_READ | PROT_EXEC)) return true;
    os::unmap(stubs_, stub_bytes_);
    return refuse("the system does not let code be made (MemoryDenyWriteExecute, SELinux)",
                  "allow it for this process, for instance MemoryDenyWriteExecute=no");
  }

  bool protect_code(std::size_t i, int protection) noexcept {
    unsigned char* begin = at(plan_.entries[i]);
    const std::uintptr_t page = address_of(begin) & ~(kPageBytes - 1);
    return os::protect(reinterpret_cast<void*>(page), address_of(begin) + kJumpBytes - page, protection);
  }

  /// Everything becomes writable before anything is written.
  bool open_code() noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i) {
      if (protect_code(i, PROT_READ | PROT_WRITE | PROT_EXEC)) continue;
      while (i-- > 0) protect_code(i, PROT_READ | PROT_EXEC);
      os::unmap(stubs_, stub_bytes_);
      return refuse("the system does not let its code be changed (MemoryDenyWriteExecute, SELinux)",
                    "allow it for this process, for instance MemoryDenyWriteExecute=no");
    }
    return true;
  }

  void write_jumps() noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i) {
      unsigned char* entry = at(plan_.entries[i]);
      arch::write_jump(entry, address_of(entry), address_of(stubs_ + i * kStubBytes));
    }
  }

  void close_code() noexcept {
    for (std::size_t i = 0; i < plan_.count; ++i) protect_code(i, PROT_READ | PROT_EXEC);
  }

  TakeoverPlan& plan_;
  FindAnswer find_answer_;
  std::uintptr_t lowest_ = 0, highest_ = 0;
  unsigned char* stubs_ = nullptr;
  std::size_t stub_bytes_ = 0;
};

}  // namespace

bool take_over(FindAnswer find_answer) noexcept {
  TakeoverOutcome outcome;
  // Some 20 KiB: more than the stack of whoever calls malloc first should have to give.
  auto* plan = static_cast<TakeoverPlan*>(os::map(sizeof(TakeoverPlan)));
  const long fd = os::open("/proc/self/exe", O_RDONLY);
  if (!plan || fd < 0) {
    outcome.state = TakeoverState::kRefused;
    copy_text(outcome.why, "its file cannot be opened (/proc/self/exe)");
    say::not_taken_over({}, view_of(outcome.why), "mount /proc");
  } else {
    plan = new (plan) TakeoverPlan;
    plan_takeover(static_cast<int>(fd), plan);
    const bool taken = plan->answer == TakeoverAnswer::kPossible && Takeover(*plan, find_answer).run();
    outcome.state = taken                                      ? TakeoverState::kTakenOver
                    : plan->answer == TakeoverAnswer::kNothing ? TakeoverState::kNothingInside
                                                               : TakeoverState::kRefused;
    FixedText<sizeof outcome.what> what;
    add_kinds(what, *plan);
    copy_text(outcome.what, what.view());
    if (taken) {
      outcome.entry_points = plan->count;
      if (options().verbose) say::taken_over(what.view(), plan->count);
    } else if (outcome.state == TakeoverState::kRefused) {
      copy_text(outcome.why, plan->why.view());
      say::not_taken_over(what.view(), plan->why.view(), plan->next.view());
    }
  }
  if (fd >= 0) os::close(static_cast<int>(fd));
  if (plan) os::unmap(plan, sizeof(TakeoverPlan));
  set_takeover_outcome(outcome);
  return outcome.state == TakeoverState::kTakenOver;
}

}  // namespace mallard::inside
