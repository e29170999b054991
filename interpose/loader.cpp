// SPDX-License-Identifier: Apache-2.0
// The export of dlclose: code addresses may mean something else afterwards, which the stack walker has to
// know.
#include <dlfcn.h>

#include "base/attributes.hpp"
#include "elf/loaded_objects.hpp"
#include "unwind/stacks.hpp"

MALLARD_EXPORT int dlclose(void* handle) noexcept {
  auto* real = mallard::elf::find_function<int(void*)>(mallard::elf::libc_object(), "dlclose");
  if (!real) return -1;
  const int result = real(handle);
  mallard::unwind::on_module_unloaded();
  return result;
}
