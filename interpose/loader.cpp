// SPDX-License-Identifier: Apache-2.0
// The exports of dlclose and, with arch, of dlopen. After dlclose code addresses may mean something else,
// which the stack walker has to know. An object opened with RTLD_DEEPBIND prefers libc's malloc to ours: its
// blocks would come from another heap than the one where the program frees them.
#include <dlfcn.h>

#include <atomic>

#include "base/attributes.hpp"
#include "base/options.hpp"
#include "base/say.hpp"
#include "elf/loaded_objects.hpp"
#include "interpose/backend_choice.hpp"
#include "interpose/dispatch.hpp"
#include "unwind/stacks.hpp"

namespace mallard::interpose {
namespace {

constinit std::atomic<bool> g_said{false};

/// Whether such an object would have another heap than the rest of the program.
bool divides_the_heap() noexcept {
  return !foreign_owner().is_there() && backend().object != elf::libc_object();
}

void* no_dlopen(const char*, int) noexcept { return nullptr; }

}  // namespace
}  // namespace mallard::interpose

using namespace mallard;

extern "C" {

/// Where arch's dlopen jumps to; found by the first call. In libdl before glibc 2.34.
using DlopenFunction = void*(const char*, int);
__attribute__((visibility("hidden"))) constinit DlopenFunction* mallard_real_dlopen = nullptr;

/// \return the mode that the real dlopen gets \context any thread
__attribute__((visibility("hidden"))) int mallard_before_dlopen(int mode) noexcept {
  if (!mallard_real_dlopen) {
    auto* real = elf::find_function<DlopenFunction>(elf::find_next_definer("dlopen"), "dlopen");
    mallard_real_dlopen = real ? real : interpose::no_dlopen;
  }
  if (!(mode & RTLD_DEEPBIND) || options().keep_deepbind || !interpose::divides_the_heap()) return mode;
  if (!interpose::g_said.exchange(true)) say::deepbind_cleared();
  return mode & ~RTLD_DEEPBIND;
}

}  // extern "C"

MALLARD_EXPORT int dlclose(void* handle) noexcept {
  auto* real = mallard::elf::find_function<int(void*)>(mallard::elf::libc_object(), "dlclose");
  if (!real) return -1;
  const int result = real(handle);
  mallard::unwind::on_module_unloaded();
  return result;
}
