// SPDX-License-Identifier: Apache-2.0
// Allocators that are loaded at run time: a path that the user gives, and mimalloc, which distributions ship
// as a shared object only.
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <string.h>

#include "arch/elf.hpp"
#include "backends/backend.hpp"
#include "base/backend_names.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "elf/image.hpp"
#include "elf/loaded_objects.hpp"

namespace mallard::backends {
namespace {

bool contains(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

/// Says in words what the loader would say less clearly.
bool is_loadable(const char* path, TextBuffer& why, TextBuffer& hint) noexcept {
  const long fd = os::open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) {
    why.add(say::error_text(fd));
    hint.add(kBackendsTaken);
    return false;
  }
  elf::Image image;
  const bool is_file = image.use_file(static_cast<int>(fd));
  const bool is_object = is_file && image.parse() == elf::Fault::kNone && image.header().e_type == ET_DYN;
  os::close(static_cast<int>(fd));
  if (is_object) return true;
  why.add(is_file ? "it is not a 64-bit " MALLARD_MACHINE " ELF shared object" : "it is not a regular file");
  hint.add("give the .so file of an allocator, such as libtcmalloc_minimal.so.4");
  return false;
}

struct Candidate {
  int major;
  bool beside;  ///< relative to the directory of libmallard.so; otherwise for the loader's search
  const char* path;
};

// Newest first: what scripts/get-mimalloc3 fetched, what is installed for mallard, the system's.
constexpr Candidate kMimallocs[] = {
    {3, true, "/backends/libmimalloc3.so"}, {3, true, "/mallard/libmimalloc3.so"},
    {3, false, "libmimalloc.so.3"},         {2, true, "/backends/libmimalloc2.so"},
    {2, true, "/mallard/libmimalloc2.so"},  {2, false, "libmimalloc.so.2"},
};

}  // namespace

bool use_file(const char* path, Backend* out, TextBuffer& why, TextBuffer& hint) noexcept {
  if (strchr(path, '/') && !is_loadable(path, why, hint)) return false;
  // Local: the host must not see mi_* or mallctl only because we loaded them.
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const std::string_view error = view_of(dlerror());
    why.add(error);
    if (contains(error, "static TLS"))
      hint.add(
          "it needs more static TLS than the loader keeps free: set "
          "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096, or use ALLOC_BACKEND=jemalloc");
    return false;
  }
  const auto* object = static_cast<const link_map*>(handle);
  if (object == elf::own_object()) why.add("it is mallard itself");
  else if (use_object(object, out, why)) return true;
  hint.add("give the shared object of an allocator that overrides malloc");
  return false;  // it stays loaded: its constructors may have left handlers behind
}

bool use_mimalloc(int major, const char* own_path, Backend* out, TextBuffer& why, TextBuffer& hint) noexcept {
  const std::string_view own = view_of(own_path);
  const std::size_t slash = own.rfind('/');
  const std::string_view directory = slash == std::string_view::npos ? "." : part_of(own, 0, slash);
  for (const Candidate& c : kMimallocs) {
    if (major != 0 && c.major != major) continue;
    FixedText<1024> path;
    if (c.beside) {
      path.add(directory).add(view_of(c.path));
      if (os::call(SYS_faccessat, AT_FDCWD, os::arg(path.c_str()), 4 /* R_OK */) != 0) continue;
    } else {
      path.add(view_of(c.path));
    }
    why.clear();
    hint.clear();
    if (use_file(path.c_str(), out, why, hint)) return true;
  }
  if (why.size() == 0) why.add("no such library is installed");
  if (hint.size() == 0)
    hint.add(major == 3 ? "install libmimalloc.so.3 (Debian 13: the package libmimalloc3), or give its path"
                        : "install mimalloc (Debian: the package libmimalloc2.0 or libmimalloc3), or give its path");
  return false;
}

}  // namespace mallard::backends
