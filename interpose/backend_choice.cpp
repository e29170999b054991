// SPDX-License-Identifier: Apache-2.0
#include "interpose/backend_choice.hpp"

#include <initializer_list>

#include <unistd.h>

#include "backends/boot.hpp"
#include "base/backend_names.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/rebind.hpp"
#include "inside/outcome.hpp"
#include "inside/take_over.hpp"
#include "interpose/address_limit.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/first_calls.hpp"
#include "interpose/lifecycle.hpp"
#include "interpose/odd_variables.hpp"
#include "interpose/own_interfaces.hpp"
#include "interpose/watched_calls.hpp"

namespace mallard::interpose {
namespace {

constinit ForeignOwner g_foreign_owner;
constinit char g_owner_name[256] = "";
constinit bool g_to_be_loaded = false;

/// A malloc that wraps glibc's by calling __libc_malloc would be led to itself, by way of our export of that
/// name.
void lead_to_libc(const link_map* backend) noexcept {
  const link_map *own = elf::own_object(), *libc = elf::libc_object();
  if (!backend || !own || !libc || backend == libc || backend == elf::first_object()) return;
  constexpr const char* kNames[] = {"__libc_malloc",  "__libc_free",        "__libc_calloc",
                                    "__libc_realloc", "__libc_memalign",    "__libc_valloc",
                                    "__libc_pvalloc", "__libc_reallocarray"};
  elf::Rebinding list[std::size(kNames)];
  std::size_t count = 0;
  for (const char* name : kNames)
    if (const void* to = elf::find_symbol(libc, name))
      list[count++] = {name, elf::find_symbol(own, name), to};
  elf::rebind(backend, list, count);
}

void install(backends::Backend& backend) noexcept {
  g_to_be_loaded = false;
  lead_to_libc(backend.object);
  answer_for_boot_blocks(&backend);
  retry_at_address_limit(&backend);
  install_final(backend);
  backends::boot_end();
  if (backend.misaligns && (is_first_process() || options().verbose))
    say::misaligning_backend(view_of(backend.version));
}

void install_system() noexcept {
  backends::Backend backend;
  if (backends::use_system(&backend)) {
    install(backend);
    return;
  }
  FixedText<64> why;
  why.add("libc's malloc was not found");
  say::backend_unusable("system", why.view(), "preload libmallard.so into programs linked with glibc");
  refuse_to_start();
}

void fall_back(std::string_view why, std::string_view hint) noexcept {
  say::backend_unusable(view_of(options().backend), why, hint);
  if (options().strict) refuse_to_start();
  install_system();
}

/// Somebody before us in the link map owns malloc: the executable itself, an earlier preload. Programs call
/// that one; our operator new must use it too, or new and free would come from two allocators.
bool follow_owner_in_front() noexcept {
  const link_map* first = elf::find_definer(elf::first_object(), "malloc");
  const link_map* own = elf::own_object();
  if (!first || !own || first == own) return false;
  backends::Backend backend;
  if (!backends::use_natural_owners(first, own, inside::past_watcher, &backend)) return false;
  const std::string_view name = view_of(first->l_name);
  if (name.empty() && inside::takeover_outcome().state == inside::TakeoverState::kObserved) {
    install(backend);
    return true;
  }
  backends::set_text(g_owner_name, sizeof g_owner_name, name.empty() ? "the executable itself" : name);
  if (name.empty()) backends::set_text(backend.name, sizeof backend.name, "executable");
  g_foreign_owner.in_front = true;
  g_foreign_owner.name = view_of(g_owner_name);
  install(backend);
  return true;
}

bool step_aside_for_sanitizer() noexcept {
  const link_map* runtime = nullptr;
  for (const char* mark : {"__asan_init", "__tsan_init", "__msan_init", "__hwasan_init"})
    if (!runtime) runtime = elf::find_definer(elf::first_object(), mark);
  if (!runtime) return false;
  backends::Backend backend;
  FixedText<128> why;
  if (!backends::use_object(runtime, &backend, why)) return false;
  g_foreign_owner.sanitizer = true;
  install(backend);
  return true;
}

bool choose_next(backends::Backend* to, TextBuffer& why) noexcept {
  const link_map* next = elf::find_next_definer("malloc");
  if (!next || next == elf::libc_object()) return backends::use_system(to);
  if (backends::use_object(next, to, why)) return true;
  // It defines a part of the family; what is missing the program would call of others.
  return backends::use_natural_owners(next, elf::own_object(), inside::past_watcher, to);
}

bool is_path(std::string_view backend) noexcept { return backend.find('/') != std::string_view::npos; }

/// 0 = the newest, 2 or 3 = that one, -1 = not mimalloc
int mimalloc_major(std::string_view backend) noexcept {
  return backend == "mimalloc" ? 0 : backend == "mimalloc2" ? 2 : backend == "mimalloc3" ? 3 : -1;
}

/// Does what is asked about an allocator inside the executable.
void treat_embedded() noexcept {
  if (options().embedded == EmbeddedAction::kRedirect) inside::take_over(function_for);
  else if (options().embedded == EmbeddedAction::kObserve) inside::observe(watchers());
  if (inside::takeover_outcome().state == inside::TakeoverState::kRefused && options().strict)
    refuse_to_start();
}

}  // namespace

void choose_backend() noexcept {
  if (step_aside_for_sanitizer()) return;
  treat_embedded();
  const bool is_ours = inside::takeover_outcome().state == inside::TakeoverState::kTakenOver;
  if (!is_ours && follow_owner_in_front()) return;
  const std::string_view wanted = view_of(options().backend);
  backends::Backend backend;
  FixedText<128> why;
  if (wanted == "system") return install_system();
  if (wanted == "jemalloc") {
    if (backends::use_jemalloc(&backend)) return install(backend);
    return fall_back("this libmallard.so was built without it",
                     "build with -Djemalloc=enabled, or give its path");
  }
  if (wanted == "next") {
    if (choose_next(&backend, why)) return install(backend);
    return why.size() ? fall_back(why.view(), {}) : install_system();
  }
  if (is_path(wanted) || mimalloc_major(wanted) >= 0) {
    g_to_be_loaded = true;
    return serve_from_boot_arena();
  }
  fall_back("unknown name", kBackendsTaken);
}

void load_backend() noexcept {
  if (!g_to_be_loaded) return;
  const char* wanted = options().backend;
  backends::Backend backend;
  FixedText<1024> why;
  FixedText<256> hint;
  const link_map* own = elf::own_object();
  const bool loaded = is_path(view_of(wanted))
                          ? backends::use_file(wanted, &backend, why, hint)
                          : backends::use_mimalloc(mimalloc_major(view_of(wanted)), own ? own->l_name : "",
                                                   &backend, why, hint);
  if (loaded) install(backend);
  else fall_back(why.view(), hint.view());
}

bool backend_is_to_be_loaded() noexcept { return g_to_be_loaded; }
const ForeignOwner& foreign_owner() noexcept { return g_foreign_owner; }

}  // namespace mallard::interpose
