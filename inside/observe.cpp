// SPDX-License-Identifier: Apache-2.0
#include "inside/observe.hpp"

#include <sys/mman.h>

#include "arch/instructions.hpp"
#include "base/os.hpp"
#include "elf/image.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/program_code.hpp"
#include "inside/recognise.hpp"

namespace mallard::inside {
namespace {

using arch::kStubBytes;
/// The way to the watcher; behind it stands what a jump displaces.
constexpr std::size_t kWatchBytes = kStubBytes + arch::kDisplacedRoom;

constinit Observed* g_observed = nullptr;  ///< kMaxTakeoverEntries of them
/// Where entries are, behind landing pads, and what does their work now.
constinit struct {
  std::uintptr_t entry, displaced;
}* g_past = nullptr;
constinit std::size_t g_past_count = 0;
constinit ObservedAllocator g_allocator{};

struct Observation {
  TakeoverPlan& plan;
  FindWatcher find_watcher;
  ProgramCode program{plan};
  NewCode code{};

  std::uintptr_t displaced_at(std::size_t entry) const noexcept {
    return address_of(code.at(entry * kWatchBytes + kStubBytes));
  }

  /// Branches of the allocator to its own entries go on to where those go on.
  static std::uint64_t redirected(std::uint64_t target, const void*) noexcept {
    return address_of(past_watcher(reinterpret_cast<void*>(target)));
  }

  EmbeddedKind main_kind() const noexcept {
    return plan.has_kind[0] ? EmbeddedKind::kMimalloc
           : plan.has_kind[1] ? EmbeddedKind::kJemalloc
                              : EmbeddedKind::kProgram;
  }

  UsableSize* usable_size_of(EmbeddedKind kind) const noexcept {
    if (const std::uint64_t own = plan.named[static_cast<std::size_t>(NamedFunction::kUsableSize)];
        own != 0 && kind == main_kind())
      return reinterpret_cast<UsableSize*>(program.at(own));
    for (std::size_t i = 0; i < plan.count; ++i) {
      const TakeoverEntry& e = plan.entries[i];
      if (e.kind == kind && e.target == "malloc_usable_size")
        return reinterpret_cast<UsableSize*>(program.at(e.address));
    }
    return nullptr;
  }

  bool write() noexcept {
    for (std::size_t i = 0; i < plan.count; ++i)
      if (plan.entries[i].displaced > 0)
        g_past[g_past_count++] = {address_of(program.at(plan.entries[i].address)), displaced_at(i)};
    for (std::size_t i = 0; i < plan.count; ++i) {
      const TakeoverEntry& e = plan.entries[i];
      if (e.displaced == 0) continue;
      const void* watcher = find_watcher(e.call);
      if (!watcher || !arch::write_displaced(program.at(e.address), e.displaced, address_of(program.at(e.address)),
                                             code.at(i * kWatchBytes + kStubBytes), displaced_at(i), redirected,
                                             nullptr))
        return program.refuse("an address that its code uses is out of reach from where it would be moved to");
      g_observed[i] = {reinterpret_cast<const void*>(displaced_at(i)), usable_size_of(e.kind), e.call};
      arch::write_watch_stub(code.at(i * kWatchBytes), watcher, &g_observed[i]);
    }
    return true;
  }

  void lead() noexcept {
    for (std::size_t i = 0; i < plan.count; ++i)
      if (plan.entries[i].displaced > 0)
        program.write_jump(plan.entries[i], address_of(code.at(i * kWatchBytes)));
    for (std::size_t i = 0; i < plan.inner_count; ++i)
      program.lead(plan.inner[i], displaced_at(plan.inner[i].entry));
  }

  template <typename Function>
  void find(NamedFunction name, Function*& to) const noexcept {
    const std::uint64_t address = plan.named[static_cast<std::size_t>(name)];
    if (address) to = reinterpret_cast<Function*>(past_watcher(program.at(address)));
  }

  void describe() noexcept {
    ObservedAllocator& a = g_allocator;
    a.kind = main_kind();
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
    const bool done = change(program, code, plan.count * kWatchBytes, [this]() noexcept { return write(); },
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

bool observe_planned(TakeoverPlan& plan, FindWatcher find_watcher) noexcept {
  return Observation{plan, find_watcher}.run();
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
