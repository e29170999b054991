// SPDX-License-Identifier: Apache-2.0
// From the first call to the last: choose the backend, begin recording, follow fork, end.
// This is the composition root: the only host file, with signals.cpp, that knows every folder.
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "backends/boot.hpp"
#include "elf/loaded_objects.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "base/started.hpp"
#include "inside/outcome.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/early.hpp"
#include "interpose/mapping_exports.hpp"
#include "interpose/mode.hpp"
#include "interpose/signals.hpp"
#include "interpose/slow_paths.hpp"
#include "inside/take_over.hpp"
#include "record/mappings.hpp"
#include "report/reporter.hpp"

extern "C" {
extern void* __libc_stack_end;
/// Its address names this object to pthread_atfork. crtbeginS.o, which has one, is not linked (meson.build).
__attribute__((visibility("hidden"))) constinit void* __dso_handle = nullptr;
}

namespace mallard::interpose {
namespace {

// The loader copies TLS initialisers only after all relocation is done: while this reads 0, an IFUNC resolver
// is calling, and backends, which keep pointers in initialised TLS, would crash.
__thread volatile int t_tls_ready __attribute__((tls_model("initial-exec"))) = 1;

enum class Phase : std::uint8_t {
  kUntouched,
  kBeforeTls,   ///< boot arena until TLS is set up
  kBeforeLoad,  ///< boot arena until the constructor has loaded the backend's file
  kFinal,
};
constinit Phase g_phase = Phase::kUntouched;
constinit bool g_bypassed = false;
constinit bool g_stepped_aside = false;
constinit char g_bypass_owner[256] = "";

char** early_environment() noexcept {
  if (environ) return environ;                         // libc sets it in its own constructor, after ours
  auto* stack = static_cast<long*>(__libc_stack_end);  // argc, argv[], NULL, envp[]
  return reinterpret_cast<char**>(stack + 1 + stack[0] + 1);
}

[[noreturn]] void refuse() noexcept {
  say::refused_to_start();
  constexpr long kRefused = 78;  // EX_CONFIG of sysexits.h
  os::call(SYS_exit_group, kRefused);
  __builtin_unreachable();
}

using UsableSizeFunction = std::size_t(void*);
constinit UsableSizeFunction* g_backend_usable_size = nullptr;

std::size_t usable_size_with_boot_blocks(void* p) noexcept {
  // Null is no boot block; programs such as redis call this as often as malloc.
  if (MALLARD_LIKELY(!backends::is_boot_block(p))) return g_backend_usable_size(p);
  return backends::boot_usable_size(p);
}

/// Not one of the children of what `mallard run` started: there may be hundreds. By hand, each is taken for
/// the first.
bool is_first_process() noexcept {
  const char* started = find_variable(early_environment(), kStartedVariable);
  FixedText<24> own;
  own.add_unsigned(static_cast<unsigned>(getpid()));
  return !started || view_of(started) == own.view();
}

void finish(backends::Backend& backend) noexcept {
  g_phase = Phase::kFinal;
  if (backends::boot_blocks() != 0) {  // from now on there can be no new ones
    g_backend_usable_size = backend.functions.usable_size;
    backend.functions.usable_size = usable_size_with_boot_blocks;
  }
  install_final(backend);
  if (backend.misaligns && (is_first_process() || options().verbose))
    say::misaligning_backend(view_of(backend.version));
}

void finish_on_system() noexcept {
  backends::Backend backend;
  if (backends::use_system(&backend)) {
    finish(backend);
    return;
  }
  FixedText<64> why;
  why.add("libc's malloc was not found");
  say::backend_unusable("system", why.view(), "preload libmallard.so into programs linked with glibc");
  refuse();
}

void fall_back(std::string_view why, std::string_view hint) noexcept {
  say::backend_unusable(view_of(options().backend), why, hint);
  if (options().strict) refuse();
  finish_on_system();
}

// --- the functions behind the table while the boot arena serves ---

/// The boot arena's blocks must be recognised by every later free, which only looks at the filter.
void* boot_block(std::size_t alignment, std::size_t bytes) noexcept {
  void* p = backends::boot_allocate(alignment, bytes);
  if (p) record::filter_stick(p);
  return p;
}

bool boot_is_over() noexcept {
  if (g_phase == Phase::kBeforeTls && t_tls_ready) ensure_started();
  return g_phase == Phase::kFinal;
}

void* boot_malloc(std::size_t bytes) noexcept {
  return boot_is_over() ? mallard_table.malloc(bytes) : boot_block(16, bytes);
}
void boot_free_any(void* p) noexcept {
  if (p && backends::is_boot_block(p)) backends::boot_free(p);
  else if (p && boot_is_over()) mallard_table.free(p);
}
void* boot_calloc(std::size_t count, std::size_t size) noexcept {
  return boot_is_over() ? mallard_table.calloc(count, size) : boot_block(16, count * size);
}
void* boot_realloc(void* p, std::size_t bytes) noexcept {
  if (p && !backends::is_boot_block(p) && boot_is_over()) return mallard_table.realloc(p, bytes);
  void* fresh = boot_malloc(bytes);
  if (!p || !fresh) return fresh;
  const std::size_t old = backends::boot_usable_size(p);
  memcpy(fresh, p, old < bytes ? old : bytes);
  return fresh;
}
void* boot_memalign(std::size_t alignment, std::size_t bytes) noexcept {
  return boot_is_over() ? mallard_table.memalign(alignment, bytes) : boot_block(alignment, bytes);
}
std::size_t boot_usable(void* p) noexcept { return p ? backends::boot_usable_size(p) : 0; }

constexpr backends::Functions kBootFunctions = {boot_malloc,  boot_free_any, boot_calloc,
                                                boot_realloc, boot_memalign, boot_usable};

// --- the choice ---

/// Somebody before us in the link map owns malloc: the executable itself, an earlier preload. Programs call
/// that one; our operator new must use it too, or new and free would come from two allocators.
bool follow_owner_in_front() noexcept {
  const link_map* first = find_definer(first_object(), "malloc");
  const link_map* own = own_object();
  if (!first || !own || first == own) return false;
  backends::Backend backend;
  if (!backends::use_natural_owners(first, own, &backend)) return false;
  const std::string_view name = view_of(first->l_name);
  backends::set_text(g_bypass_owner, sizeof g_bypass_owner, name.empty() ? "the executable itself" : name);
  if (name.empty()) backends::set_text(backend.name, sizeof backend.name, "executable");
  g_bypassed = true;
  finish(backend);
  return true;
}

bool step_aside_for_sanitizer() noexcept {
  const link_map* runtime = nullptr;
  for (const char* mark : {"__asan_init", "__tsan_init", "__msan_init", "__hwasan_init"})
    if (!runtime) runtime = find_definer(first_object(), mark);
  if (!runtime) return false;
  backends::Backend backend;
  FixedText<128> why;
  if (!backends::use_object(runtime, &backend, why)) return false;
  g_stepped_aside = true;
  finish(backend);
  return true;
}

bool choose_next(backends::Backend* to, TextBuffer& why) noexcept {
  const link_map* own = own_object();
  const link_map* next = own ? find_definer(own->l_next, "malloc") : nullptr;
  if (next == libc_object()) return backends::use_system(to);
  return next && backends::use_object(next, to, why);
}

bool is_path(std::string_view backend) noexcept { return backend.find('/') != std::string_view::npos; }

/// 0 = the newest, 2 or 3 = that one, -1 = not mimalloc
int mimalloc_major(std::string_view backend) noexcept {
  return backend == "mimalloc" ? 0 : backend == "mimalloc2" ? 2 : backend == "mimalloc3" ? 3 : -1;
}

/// \return true if the executable's own malloc leads to us now
bool take_over_if_asked() noexcept {
  if (options().embedded != EmbeddedAction::kRedirect) return false;
  const bool taken = take_over();
  if (takeover_outcome().state == TakeoverState::kRefused && options().strict) refuse();
  return taken;
}

void choose() noexcept {
  if (step_aside_for_sanitizer()) return;
  if (!take_over_if_asked() && follow_owner_in_front()) return;
  const std::string_view wanted = view_of(options().backend);
  backends::Backend backend;
  FixedText<128> why;
  if (wanted == "system") return finish_on_system();
  if (wanted == "jemalloc") {
    if (backends::use_jemalloc(&backend)) return finish(backend);
    return fall_back("this libmallard.so was built without it",
                     "build with -Djemalloc=enabled, or give its path");
  }
  if (wanted == "next") {
    if (choose_next(&backend, why)) return finish(backend);
    return fall_back(why.view(), {});
  }
  if (is_path(wanted) || mimalloc_major(wanted) >= 0) {
    g_phase = Phase::kBeforeLoad;
    install_temporary(kBootFunctions);
    return;
  }
  fall_back(
      "unknown name",
      "ALLOC_BACKEND takes system, jemalloc, mimalloc, mimalloc2, mimalloc3, next, or the path of a shared "
      "object that defines malloc");
}

void load_backend() noexcept {
  const char* wanted = options().backend;
  backends::Backend backend;
  FixedText<1024> why;
  FixedText<256> hint;
  const link_map* own = own_object();
  const bool loaded = is_path(view_of(wanted))
                          ? backends::use_file(wanted, &backend, why, hint)
                          : backends::use_mimalloc(mimalloc_major(view_of(wanted)), own ? own->l_name : "",
                                                   &backend, why, hint);
  if (loaded) finish(backend);
  else fall_back(why.view(), hint.view());
}

void read_environment() noexcept {
  say::remember_stderr();
  char** environment = early_environment();
  if (!environ) environ = environment;  // backends read MALLOC_CONF and MIMALLOC_* with getenv
  Options read;
  if (getauxval(AT_SECURE)) {
    // Set-uid: the environment is an attacker's. Serve from glibc, write nothing.
    read.mode = Mode::kOff;
    read.signal = 0;
    set_options(read);
    return;
  }
  const bool good = read_options(environment, &read);
  set_options(read);
  if (!good && read.strict) refuse();
}

MALLARD_FORK_TEXT void before_fork() noexcept {
  mode_before_fork();
  record::before_fork();
  record::mappings_before_fork();
}
MALLARD_FORK_TEXT void after_fork_in_parent() noexcept {
  record::mappings_after_fork_in_parent();
  record::after_fork_in_parent();
  mode_after_fork_in_parent();
}
MALLARD_FORK_TEXT void after_fork_in_child() noexcept {
  record::mappings_after_fork_in_child();
  record::after_fork_in_child();
  mode_after_fork_in_child();
  report::after_fork_in_child();
  signals_after_fork_in_child();
}

__attribute__((constructor)) void start() noexcept {
  ensure_started();
  if (g_phase == Phase::kBeforeLoad) load_backend();
  const bool serves = !g_bypassed && !g_stepped_aside;
  const bool records = serves && options().mode != Mode::kOff;
  const auto expected =
      options().mode == Mode::kExact ? record::Expected::kManyStacks : record::Expected::kFewStacks;
  if (!record::start(records ? options().sample_bytes : 0, expected)) say::nothing_recorded();
  const char* why_not;
  if (!start_mode(options().mode, serves, &why_not)) {
    say::exact_unusable(view_of(why_not));
    if (options().strict) refuse();
  }
  report::Served served{&backend(), g_bypassed, g_stepped_aside, view_of(g_bypass_owner),
                        mode,       why_off,    switch_mode};
  report::configure(served);
  mappings_start();
  signals_start();
  // Registered before any of the host's handlers: ours run last before the fork and first after it.
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  if (g_stepped_aside) say::sanitizer_present();
  else if (g_bypassed) say::bypassed(view_of(g_bypass_owner));
  if (options().verbose)
    say::backend_chosen(view_of(backend().name), view_of(backend().version), view_of(backend().path));
}

__attribute__((destructor)) MALLARD_FORK_TEXT void end() noexcept { report::at_exit(options().at_exit); }

}  // namespace

void ensure_started() noexcept {
  if (g_phase == Phase::kFinal || g_phase == Phase::kBeforeLoad) return;
  if (!t_tls_ready) {
    if (g_phase == Phase::kUntouched) install_temporary(kBootFunctions);
    g_phase = Phase::kBeforeTls;
    return;
  }
  read_environment();
  choose();
}

void* early_malloc(std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.malloc(bytes);
}
void early_free(void* p) noexcept {
  if (!p) return;
  ensure_started();
  mallard_table.free(p);
}
void* early_calloc(std::size_t count, std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.calloc(count, bytes);
}
void* early_realloc(void* p, std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.realloc(p, bytes);
}
void* early_memalign(std::size_t alignment, std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.memalign(alignment, bytes);
}
std::size_t early_usable_size(void* p) noexcept {
  ensure_started();
  return mallard_table.usable_size(p);
}

}  // namespace mallard::interpose
