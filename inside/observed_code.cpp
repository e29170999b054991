// SPDX-License-Identifier: Apache-2.0
#include "inside/observed_code.hpp"

#include "arch/code.hpp"
#include "arch/instructions.hpp"

namespace mallard::inside {

EmbeddedKind ObservedCode::main_kind(const TakeoverPlan& plan) noexcept {
  return plan.has_kind[0] ? EmbeddedKind::kMimalloc
         : plan.has_kind[1] ? EmbeddedKind::kJemalloc
                            : EmbeddedKind::kProgram;
}

std::uint64_t ObservedCode::past_watcher(std::uint64_t address) const noexcept {
  for (std::size_t i = 0; i < plan_.count; ++i) {
    const TakeoverEntry& e = plan_.entries[i];
    if (e.displaced == 0) continue;
    const std::uint64_t entry = e.address + bias_;
    if (address == entry || (e.has_pad && address + arch::kLongestLandingPad == entry)) return displaced_at(i);
  }
  return address;
}

std::uintptr_t ObservedCode::usable_size_of(EmbeddedKind kind) const noexcept {
  if (const std::uint64_t own = plan_.named[static_cast<std::size_t>(NamedFunction::kUsableSize)];
      own != 0 && kind == main_kind(plan_))
    return own + bias_;
  for (std::size_t i = 0; i < plan_.count; ++i) {
    const TakeoverEntry& e = plan_.entries[i];
    if (e.kind == kind && e.target == "malloc_usable_size") return e.address + bias_;
  }
  return 0;
}

bool ObservedCode::write(const Watchers& watchers, unsigned char* code, Observed* observed) const noexcept {
  const auto redirected = [](std::uint64_t target, const void* self) noexcept {
    return static_cast<const ObservedCode*>(self)->past_watcher(target);
  };
  for (std::size_t i = 0; i < plan_.count; ++i) {
    const TakeoverEntry& e = plan_.entries[i];
    if (e.displaced == 0) continue;
    unsigned char* const to = code + i * kWatchBytes;
    if (!arch::write_displaced(e.bytes, e.displaced, e.address + bias_, to + arch::kStubBytes,
                               displaced_at(i), redirected, this))
      return false;
    observed[i] = {reinterpret_cast<const void*>(displaced_at(i)),
                   reinterpret_cast<UsableSize*>(usable_size_of(e.kind)), e.call};
    const auto watcher = watchers.code[static_cast<std::size_t>(watcher_for(e.call))];
    arch::write_watch_stub(to, reinterpret_cast<const void*>(watcher),
                           reinterpret_cast<const void*>(observed_at_ + i * sizeof *observed));
  }
  return true;
}

}  // namespace mallard::inside
