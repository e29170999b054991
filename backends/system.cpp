// SPDX-License-Identifier: Apache-2.0
// glibc's malloc, found by lookup in the object that defines gnu_get_libc_version: no dlsym, so that this
// works before the loader is done.
#include <string.h>

#include "backends/backend.hpp"
#include "heaps/glibc.hpp"
#include "elf/loaded_objects.hpp"

namespace mallard::backends {

void set_text(char* to, std::size_t bytes, std::string_view text) noexcept {
  const std::size_t n = text.size() < bytes - 1 ? text.size() : bytes - 1;
  memcpy(to, text.data(), n);
  to[n] = '\0';
}

bool use_system(Backend* out) noexcept {
  FixedText<128> why;
  const link_map* libc = elf::libc_object();
  if (!libc || !use_object(libc, out, why)) return false;
  set_text(out->name, sizeof out->name, "system");
  FixedText<64> version;
  version.add("glibc ");
  if (auto* get_version = elf::find_function<const char*()>(libc, "gnu_get_libc_version")) {
    version.add(view_of(get_version()));
    heaps::set_glibc_version(get_version());
  }
  set_text(out->version, sizeof out->version, version.view());
  // malloc_info and mallinfo hold arena locks for up to seconds on large heaps: never asked for a report.
  out->statistics = nullptr;
  out->census = heaps::census_glibc;
  return true;
}

}  // namespace mallard::backends
