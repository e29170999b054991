// SPDX-License-Identifier: Apache-2.0
#include "attach/locked.hpp"

#include "attach/loader_calls.hpp"
#include "base/attributes.hpp"
#include "elf/loaded_objects.hpp"

namespace mallard::attach {
namespace {

/// What the thread's resolver is to do.
struct Work {
  void (*work)(void*);
  void* opaque;
  bool is_done;
};
constinit __thread Work* t_work __attribute__((tls_model("initial-exec"))) = nullptr;

using Dlsym = void*(void*, const char*);
constinit Dlsym* g_dlsym = nullptr;

}  // namespace
}  // namespace mallard::attach

extern "C" {

__attribute__((visibility("hidden"))) void mallard_nothing() {}

/// Runs inside of dlsym.
__attribute__((visibility("hidden"))) void (*mallard_resolve())() {
  using namespace mallard::attach;
  if (Work* todo = t_work) {
    t_work = nullptr;
    todo->work(todo->opaque);
    todo->is_done = true;
  }
  return mallard_nothing;
}

MALLARD_EXPORT void mallard_attached_under_lock() __attribute__((ifunc("mallard_resolve")));
}

namespace mallard::attach {

bool with_loader_locked(void (*work)(void* opaque), void* opaque) noexcept {
  if (!g_dlsym) g_dlsym = elf::find_function<Dlsym>(elf::find_definer(elf::first_object(), "dlsym"), "dlsym");
  // A handle of glibc's is the object's place in the loader's list.
  void* own = elf::own_object();
  if (!g_dlsym || !own) return false;
  Work todo{work, opaque, false};
  t_work = &todo;
  g_dlsym(own, "mallard_attached_under_lock");
  t_work = nullptr;
  return todo.is_done;
}

}  // namespace mallard::attach
