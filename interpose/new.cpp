// SPDX-License-Identifier: Apache-2.0
// The forms of operator new that are not hot, and what every form does when memory is out: the handler that
// the program set, then std::bad_alloc, both from the libstdc++ that the program has loaded.
#include <stdlib.h>

#include "base/say.hpp"
#include "elf/loaded_objects.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/slow_paths.hpp"
#include "record/record.hpp"

using namespace mallard;
using namespace mallard::interpose;

namespace {

using Handler = void();
constexpr std::size_t kPlain = 0;  // malloc's own alignment

template <typename Function>
Function* find_anywhere(const char* name) noexcept {
  return elf::find_function<Function>(elf::find_definer(elf::first_object(), name), name);
}

/// Calls the program's new-handler once. Not noexcept: the handler may throw.
/// \return false if there is none
bool call_new_handler() {
  auto* get = find_anywhere<Handler*()>("_ZSt15get_new_handlerv");
  Handler* handler = get ? get() : nullptr;
  if (!handler) return false;
  handler();
  return true;
}

[[noreturn]] void throw_bad_alloc() {
  if (auto* throw_it = find_anywhere<void()>("_ZSt17__throw_bad_allocv")) throw_it();
  say::no_bad_alloc();
  abort();  // operator new has no way to return
}

void* retried(std::size_t alignment, std::size_t bytes, const Caller& caller) {
  while (call_new_handler())
    if (void* p = allocate_aligned(alignment, bytes, caller)) return p;
  throw_bad_alloc();
}

/// The nothrow forms: a handler may throw, and only libstdc++'s own forms, which call our throwing ones, can
/// catch that.
void* retried_nothrow(std::size_t alignment, std::size_t bytes, const void* tag) {
  const link_map* libstdcxx = elf::find_definer(elf::first_object(), "_ZSt17__throw_bad_allocv");
  if (!libstdcxx) return nullptr;
  if (alignment == kPlain) {
    auto* form = elf::find_function<void*(std::size_t, const void*)>(libstdcxx, "_ZnwmRKSt9nothrow_t");
    return form ? form(bytes, tag) : nullptr;
  }
  auto* form = elf::find_function<void*(std::size_t, std::size_t, const void*)>(
      libstdcxx, "_ZnwmSt11align_val_tRKSt9nothrow_t");
  return form ? form(bytes, alignment, tag) : nullptr;
}

inline void* made_nothrow(std::size_t alignment, std::size_t bytes, const void* tag, const Caller& caller) {
  void* p = allocate_aligned(alignment, bytes, caller, drawn_to_be_timed());
  return MALLARD_LIKELY(p != nullptr) ? p : retried_nothrow(alignment, bytes, tag);
}

inline void* made_aligned(std::size_t alignment, std::size_t bytes, const Caller& caller, Timed timed) {
  void* p = allocate_aligned(alignment, bytes, caller, timed);
  return MALLARD_LIKELY(p != nullptr) ? p : retried(alignment, bytes, caller);
}

}  // namespace

extern "C" {

/// Where the hot operator new leaves to when a sample is due.
__attribute__((visibility("hidden"))) void* mallard_new_slow(std::size_t bytes) {
  const Caller caller = MALLARD_CALLER();
  if (bytes > kMaxRequestBytes) {
    record::restart_countdown();
    return retried(kPlain, bytes, caller);
  }
  void* p = allocate_counted(bytes, record::decide(bytes), caller);
  return MALLARD_LIKELY(p != nullptr) ? p : retried(kPlain, bytes, caller);
}

/// Where it jumps to at once in exact mode.
__attribute__((visibility("hidden"))) void* mallard_new_exact(std::size_t bytes) {
  return made_aligned(kPlain, bytes, MALLARD_CALLER(), Timed::kNo);
}

/// Where it leaves to when it is a call's turn to be timed.
__attribute__((visibility("hidden"))) void* mallard_new_timed(std::size_t bytes) {
  return made_aligned(kPlain, bytes, MALLARD_CALLER(), Timed{record::latency_draw()});
}

/// Where it leaves to when the backend gave nothing.
__attribute__((visibility("hidden"))) void* mallard_new_failed(std::size_t bytes) {
  return retried(kPlain, bytes, MALLARD_CALLER());
}
}

// Names are mangled by hand: the real declarations live in <new>, which belongs to libstdc++.
MALLARD_EXPORT void* _ZnwmRKSt9nothrow_t(std::size_t bytes, const void* tag) {
  return made_nothrow(kPlain, bytes, tag, MALLARD_CALLER());
}
MALLARD_EXPORT void* _ZnamRKSt9nothrow_t(std::size_t bytes, const void* tag) {
  return made_nothrow(kPlain, bytes, tag, MALLARD_CALLER());
}
MALLARD_EXPORT void* _ZnwmSt11align_val_t(std::size_t bytes, std::size_t alignment) {
  return made_aligned(alignment, bytes, MALLARD_CALLER(), drawn_to_be_timed());
}
MALLARD_EXPORT void* _ZnamSt11align_val_t(std::size_t bytes, std::size_t alignment) {
  return made_aligned(alignment, bytes, MALLARD_CALLER(), drawn_to_be_timed());
}
MALLARD_EXPORT void* _ZnwmSt11align_val_tRKSt9nothrow_t(std::size_t bytes, std::size_t alignment,
                                                        const void* tag) {
  return made_nothrow(alignment, bytes, tag, MALLARD_CALLER());
}
MALLARD_EXPORT void* _ZnamSt11align_val_tRKSt9nothrow_t(std::size_t bytes, std::size_t alignment,
                                                        const void* tag) {
  return made_nothrow(alignment, bytes, tag, MALLARD_CALLER());
}
