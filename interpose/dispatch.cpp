// SPDX-License-Identifier: Apache-2.0
#include "interpose/dispatch.hpp"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/elf_lookup.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "interpose/early.hpp"
#include "record/thread_state.hpp"

// The slots that hot_exports.S names.
static_assert(offsetof(mallard::backends::Functions, malloc) == 0);
static_assert(offsetof(mallard::backends::Functions, free) == 8);
static_assert(offsetof(mallard::backends::Functions, calloc) == 16);
static_assert(offsetof(mallard::backends::Functions, realloc) == 24);
static_assert(offsetof(mallard::backends::Functions, usable_size) == 40);
static_assert(offsetof(mallard::record::ThreadState, countdown) == 0);

namespace {
union TablePage {
  mallard::backends::Functions functions;
  char page[mallard::kPageBytes];
};
struct PatchSite {
  std::int32_t offset;  ///< of the instruction, from this field
  std::uint32_t slot;   ///< byte offset of the target in the table, or kCountdown
};
}  // namespace

extern "C" {
__attribute__((visibility("hidden"))) extern const unsigned char mallard_exports_begin[];
__attribute__((visibility("hidden"))) extern const unsigned char mallard_exports_end[];
// Bounds of the section mallard_patches; the linker makes them.
__attribute__((visibility("hidden"))) extern const PatchSite __start_mallard_patches[];
__attribute__((visibility("hidden"))) extern const PatchSite __stop_mallard_patches[];
}

// A page of its own, so that making it read-only protects nothing else.
extern "C" {
constinit TablePage mallard_table_page __attribute__((visibility("hidden"), aligned(4096))) = {
    {mallard::interpose::early_malloc, mallard::interpose::early_free, mallard::interpose::early_calloc,
     mallard::interpose::early_realloc, mallard::interpose::early_memalign,
     mallard::interpose::early_usable_size}};
extern __attribute__((alias("mallard_table_page"), visibility("hidden")))
mallard::backends::Functions mallard_table;
}

namespace mallard::interpose {
namespace {

constinit backends::Backend g_backend;
constinit bool g_final = false;

void* table_page() noexcept { return &mallard_table; }

/// Rewrites `jmp *slot(%rip)` (ff 25) or `call *slot(%rip)` (ff 15), 6 bytes each, into the direct form and a
/// nop. \return false if the target is further away than 2 GiB
bool patch_one(unsigned char* at, std::uintptr_t runs_at, std::uintptr_t target) noexcept {
  const auto distance = static_cast<std::int64_t>(target - (runs_at + 5));
  if (distance != static_cast<std::int32_t>(distance)) return false;
  const auto relative = static_cast<std::int32_t>(distance);
  constexpr unsigned char kJump = 0xe9, kCall = 0xe8, kNop = 0x90, kIndirectJump = 0x25;
  at[0] = at[1] == kIndirectJump ? kJump : kCall;
  memcpy(at + 1, &relative, sizeof relative);
  at[5] = kNop;
  return true;
}

constexpr std::uint32_t kCountdown = 0xffffffff;

/// Rewrites `movq offset@GOT(%rip), %rdx; subq %rax, %fs:(%rdx)`, 11 bytes, into `subq %rax, %fs:offset` with
/// two superfluous prefixes: the offset of initial-exec TLS is the same in all threads.
void patch_countdown(unsigned char* at) noexcept {
  const auto offset =
      static_cast<std::int64_t>(address_of(&mallard_thread) - address_of(__builtin_thread_pointer()));
  const auto short_offset = static_cast<std::int32_t>(offset);
  if (offset != short_offset) return;  // as compiled, it is right, too
  constexpr unsigned char kSubtract[] = {0x64, 0x64, 0x64, 0x48, 0x29, 0x04, 0x25};
  memcpy(at, kSubtract, sizeof kSubtract);
  memcpy(at + sizeof kSubtract, &short_offset, sizeof short_offset);
}

/// Patches a writable view of the exports. \return how many sites stay indirect
int patch_all(unsigned char* view) noexcept {
  int far_away = 0;
  for (const PatchSite* site = __start_mallard_patches; site != __stop_mallard_patches; ++site) {
    const std::uintptr_t runs_at = address_of(&site->offset) + static_cast<std::intptr_t>(site->offset);
    unsigned char* at = view + (runs_at - address_of(mallard_exports_begin));
    if (site->slot == kCountdown) {
      patch_countdown(at);
      continue;
    }
    std::uintptr_t target;
    memcpy(&target, reinterpret_cast<const char*>(&mallard_table) + site->slot, sizeof target);
    far_away += !patch_one(at, runs_at, target);
  }
  return far_away;
}

/// Where memory must not become executable after it was writable (systemd's MemoryDenyWriteExecute, SELinux):
/// a patched copy in a memfd, mapped over the pages in one step.
bool patch_by_remapping(unsigned char* begin, std::size_t bytes, int* far_away) noexcept {
  void* copy = os::map(bytes);
  if (!copy) return false;
  memcpy(copy, begin, bytes);
  *far_away = patch_all(static_cast<unsigned char*>(copy));
  bool done = false;
  constexpr long kCloseOnExec = 1;
  const long fd = os::call(SYS_memfd_create, os::arg("mallard-exports"), kCloseOnExec);
  if (fd >= 0) {
    if (os::write_all(static_cast<int>(fd), copy, bytes) == 0)
      done = os::call(SYS_mmap, os::arg(begin), static_cast<long>(bytes), PROT_READ | PROT_EXEC,
                      MAP_PRIVATE | MAP_FIXED, fd, 0) == os::arg(begin);
    os::close(static_cast<int>(fd));
  }
  os::unmap(copy, bytes);
  return done;
}

void patch_exports() noexcept {
  auto* begin = const_cast<unsigned char*>(mallard_exports_begin);
  const auto bytes = static_cast<std::size_t>(mallard_exports_end - mallard_exports_begin);
  int far_away = 0;
  // One step to writable *and* executable: where that is denied, a later step back to executable would be
  // denied too, and the process could not call malloc any more.
  if (os::protect(begin, bytes, PROT_READ | PROT_WRITE | PROT_EXEC)) {
    far_away = patch_all(begin);
    os::protect(begin, bytes, PROT_READ | PROT_EXEC);
  } else if (!patch_by_remapping(begin, bytes, &far_away)) {
    if (options().verbose) say::text_not_patched("the kernel does not let code be changed");
    return;
  }
  if (far_away && options().verbose) say::text_not_patched("the backend is further than 2 GiB away");
}

}  // namespace

const backends::Backend& backend() noexcept { return g_backend; }
bool is_final() noexcept { return g_final; }

void install_temporary(const backends::Functions& functions) noexcept { mallard_table = functions; }

void install_final(const backends::Backend& backend) noexcept {
  g_backend = backend;
  mallard_table = backend.functions;
  g_final = true;
  os::protect(table_page(), sizeof(TablePage), PROT_READ);
  patch_exports();
}

}  // namespace mallard::interpose
