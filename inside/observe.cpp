// SPDX-License-Identifier: Apache-2.0
#include "inside/observe.hpp"

#include <sys/mman.h>

#include "arch/instructions.hpp"
#include "base/os.hpp"
#include "elf/image.hpp"
#include "inside/observed_code.hpp"
#include "inside/program_code.hpp"
#include "inside/recognise.hpp"

namespace mallard::inside {
namespace {

constinit Observed* g_observed = nullptr;  ///< kMaxTakeoverEntries of them
/// Where entries are, behind landing pads, and what does their work now.
constinit struct {
  std::uintptr_t entry, displaced;
}* g_past = nullptr;
constinit std::size_t g_past_count = 0;
constinit ObservedAllocator g_allocator{};

struct Observation {
  TakeoverPlan& plan;
  const Watchers& watchers;
  ProgramCode program{plan};
  NewCode code{};

  ObservedCode made() const noexcept {
    return {plan, address_of(program.at(0)), address_of(code.at(0)), address_of(g_observed)};
  }

  bool write() noexcept {
    if (!made().write(watchers, code.at(0), g_observed))
      return program.refuse("an address that its code uses is out of reach from where it would be moved to");
    for (std::size_t i = 0; i < plan.count; ++i)
      if (plan.entries[i].displaced > 0)
        g_past[g_past_count++] = {address_of(program.at(plan.entries[i].address)), made().displaced_at(i)};
    return true;
  }

  void lead() noexcept {
    for (std::size_t i = 0; i < plan.count; ++i)
      if (plan.entries[i].displaced > 0) program.write_jump(plan.entries[i], made().watched_at(i));
    for (std::size_t i = 0; i < plan.inner_count; ++i)
      program.lead(plan.inner[i], made().displaced_at(plan.inner[i].entry));
  }

  template <typename Function>
  void find(NamedFunction name, Function*& to) const noexcept {
    const std::uint64_t address = plan.named[static_cast<std::size_t>(name)];
    if (address) to = reinterpret_cast<Function*>(past_watcher(program.at(address)));
  }

  void describe() noexcept {
    ObservedAllocator& a = g_allocator;
    a.kind = ObservedCode::main_kind(plan);
    a.prefix = plan.prefix;
    a.code = {address_of(program.at(plan.code_begin)), address_of(program.at(plan.code_end))};
    find(NamedFunction::kMalloc, a.malloc);
    find(NamedFunction::kFree, a.free);
    find(NamedFunction::kUsableSize, a.usable_size);
    find(NamedFunction::kMallctl, a.mallctl);
  }

  bool run() noexcept {
    const std::size_t bytes = kMaxTakeoverEntries * (sizeof *g_observed + sizeof *g_past);
    g_observed = static_cast<Observed*>(os::map(bytes));
    if (!g_observed) return program.refuse("there is no memory for it");
    g_past = reinterpret_cast<decltype(g_past)>(g_observed + kMaxTakeoverEntries);
    const bool done = change(program, code, ObservedCode::bytes_for(plan), [this]() noexcept { return write(); },
                             [this]() noexcept { lead(); });
    if (done) {
      os::protect(g_observed, bytes, PROT_READ);
      describe();
    } else {
      os::unmap(g_observed, bytes);
      g_past_count = 0;
    }
    return done;
  }
};

}  // namespace

bool observe_planned(TakeoverPlan& plan, const Watchers& watchers) noexcept {
  return Observation{plan, watchers}.run();
}

const ObservedAllocator& observed_allocator() noexcept { return g_allocator; }

void find_observed_version(TextBuffer& to) noexcept {
  static constinit Contents contents{};  // one report at a time
  elf::Image image;
  if (!image.open("/proc/self/exe") || image.parse() != elf::Fault::kNone) return;
  recognise(image, &contents);
  for (const CarriedAllocator& c : contents.all())
    if (c.allocator->name == name_of(g_allocator.kind)) to.add(view_of(c.version));
}

void* past_watcher(void* function) noexcept {
  for (std::size_t i = 0; i < g_past_count; ++i) {
    const std::uintptr_t at = address_of(function);
    const bool is_before_pad =
        at + arch::kLongestLandingPad == g_past[i].entry && arch::landing_pad_bytes(function, arch::kLongestLandingPad);
    if (at == g_past[i].entry || is_before_pad) return reinterpret_cast<void*>(g_past[i].displaced);
  }
  return function;
}

}  // namespace mallard::inside
