// SPDX-License-Identifier: Apache-2.0
#include "interpose/jemalloc_calls.hpp"

#include <link.h>

#include "base/say.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/rebind.hpp"
#include "interpose/backend_choice.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/own_interfaces.hpp"
#include "interpose/slow_paths.hpp"
#include "record/exact/moved_block.hpp"

namespace mallard::interpose {
namespace {

/// The functions of the jemalloc that serves.
constinit struct {
  void* (*mallocx)(std::size_t, int);
  void* (*rallocx)(void*, std::size_t, int);
  std::size_t (*xallocx)(void*, std::size_t, std::size_t, int);
  std::size_t (*sallocx)(const void*, int);
  void (*dallocx)(void*, int);
  void (*sdallocx)(void*, std::size_t, int);
} g_jemalloc{};

void* booked_mallocx(std::size_t bytes, int flags) noexcept {
  const Caller caller = MALLARD_CALLER();
  const bool sampled = counts_as_sample(bytes);
  return book(g_jemalloc.mallocx(bytes, flags), bytes, sampled, caller);
}

void* booked_rallocx(void* p, std::size_t bytes, int flags) noexcept {
  const Caller caller = MALLARD_CALLER();
  const bool sampled = counts_as_sample(bytes);
  const record::Unbooked before = record::unbook(p, unbooks_exactly);
  void* moved = g_jemalloc.rallocx(p, bytes, flags);
  if (!moved) record::book_again(p, before);
  return book(moved, bytes, sampled, caller);
}

/// Never moves a block, and may make it any size from `bytes` to `bytes + more`.
std::size_t booked_xallocx(void* p, std::size_t bytes, std::size_t more, int flags) noexcept {
  const Caller caller = MALLARD_CALLER();
  const std::size_t before_bytes = g_jemalloc.sallocx(p, flags);
  const record::Unbooked before = record::unbook(p, unbooks_exactly);
  const std::size_t now = g_jemalloc.xallocx(p, bytes, more, flags);
  if (now == before_bytes) record::book_again(p, before);
  else book(p, now, counts_as_sample(now), caller);
  return now;
}

void booked_dallocx(void* p, int flags) noexcept {
  if (forget(p)) g_jemalloc.dallocx(p, flags);
}
void booked_sdallocx(void* p, std::size_t bytes, int flags) noexcept {
  if (forget(p)) g_jemalloc.sdallocx(p, bytes, flags);
}

template <typename Function>
const void* code(Function* f) noexcept {
  return reinterpret_cast<const void*>(f);
}

struct Call {
  const char* name;
  const void* booked;  ///< where the program's own jemalloc serves; nullptr = it is left alone then
  std::string_view under_another;  ///< which of own_interfaces answers under another backend
};

bool find_functions(const link_map* jemalloc) noexcept {
  const auto find = [jemalloc]<typename F>(const char* name, F*& to) noexcept {
    to = elf::find_function<F>(jemalloc, name);
    return to != nullptr;
  };
  return find("mallocx", g_jemalloc.mallocx) && find("rallocx", g_jemalloc.rallocx) &&
         find("xallocx", g_jemalloc.xallocx) && find("sallocx", g_jemalloc.sallocx) &&
         find("dallocx", g_jemalloc.dallocx) && find("sdallocx", g_jemalloc.sdallocx);
}

}  // namespace

void lead_jemalloc_calls() noexcept {
  const link_map* jemalloc = elf::find_definer(elf::first_object(), "mallocx");
  if (!jemalloc || jemalloc == elf::first_object()) return;  // one inside the executable: ALLOC_EMBEDDED
  if (foreign_owner().is_there()) return;
  const bool serves = backend().object == jemalloc;
  if (serves && !find_functions(jemalloc)) return;
  const Call calls[] = {{"mallocx", code(booked_mallocx), "mallocx"},
                        {"rallocx", code(booked_rallocx), "rallocx"},
                        {"xallocx", code(booked_xallocx), "xallocx"},
                        {"dallocx", code(booked_dallocx), "free"},
                        {"sdallocx", code(booked_sdallocx), "free"},
                        {"sallocx", nullptr, "sallocx"},
                        {"nallocx", nullptr, "nallocx"}};
  elf::Rebinding list[std::size(calls)];
  std::size_t count = 0;
  for (const Call& call : calls) {
    const void* to = serves ? call.booked : function_for(call.under_another);
    const void* from = elf::find_symbol(jemalloc, call.name);
    if (to && from) list[count++] = {call.name, from, to};
  }
  std::size_t refused = 0;
  for (const link_map* object = elf::first_object(); object; object = object->l_next)
    if (object != jemalloc && object != elf::own_object()) refused += elf::rebind(object, list, count);
  if (refused > 0 && !serves) say::jemalloc_calls_not_led(view_of(backend().name));
}

}  // namespace mallard::interpose
