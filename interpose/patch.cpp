// SPDX-License-Identifier: Apache-2.0
#include "interpose/patch.hpp"

#include <string.h>
#include <sys/mman.h>

#include "arch/code.hpp"
#include "arch/hot_exports.h"
#include "arch/thread.hpp"
#include "backends/boot.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "elf/loaded_objects.hpp"
#include "interpose/dispatch.hpp"
#include "record/thread_state.hpp"

// As hot_exports.S has it.
static_assert(offsetof(mallard::record::ThreadState, countdown) == 0);
static_assert(offsetof(mallard::record::ThreadState, calls_left) == MALLARD_CALLS_LEFT_AT);

namespace mallard::interpose {
namespace {

using arch::kJumpBytes, arch::ModeEntry, arch::PatchSite;

constexpr std::size_t kMaxEntries = 8;
/// The first bytes of each entry as compiled: what sample mode has there.
constinit unsigned char g_compiled[kMaxEntries][kJumpBytes] = {};
constinit bool g_patchable = false;

std::uintptr_t target_of(const std::int32_t& field) noexcept {
  return address_of(&field) + static_cast<std::intptr_t>(field);
}

std::size_t exports_bytes() noexcept {
  return static_cast<std::size_t>(mallard_exports_end - mallard_exports_begin);
}
unsigned char* exports() noexcept { return const_cast<unsigned char*>(mallard_exports_begin); }

/// Where the byte that runs at `address` stands in a view of the exports.
unsigned char* in_view(unsigned char* view, std::uintptr_t address) noexcept {
  return view + (address - address_of(mallard_exports_begin));
}

/// Makes the jumps to the backend direct. \return how many stay indirect
int patch_jumps(unsigned char* view) noexcept {
  int far_away = 0;
  for (const PatchSite* site = __start_mallard_patches; site != __stop_mallard_patches; ++site) {
    const std::uintptr_t runs_at = target_of(site->offset);
    unsigned char* at = in_view(view, runs_at);
    if (site->slot == MALLARD_SLOT_COUNTDOWN) {
      arch::make_countdown_direct(
          at, static_cast<std::int64_t>(address_of(&mallard_thread) - arch::thread_pointer()));
      continue;
    }
    std::uintptr_t target;
    memcpy(&target, reinterpret_cast<const char*>(&mallard_table) + site->slot, sizeof target);
    far_away += !arch::make_direct(at, runs_at, target);
  }
  return far_away;
}

/// Writes the first instruction of an export as the mode has it to `at`, where it will run at `runs_at`.
void write_first(unsigned char* view, const ModeEntry& e, Mode mode, std::uintptr_t runs_at) noexcept {
  const std::uintptr_t entry = target_of(e.entry);
  unsigned char* at = in_view(view, runs_at);
  memcpy(at, g_compiled[&e - __start_mallard_entries], kJumpBytes);
  if (mode == Mode::kSample) return;
  const bool boot = backends::boot_blocks() != 0;
  const std::uintptr_t target =
      mode == Mode::kExact ? target_of(e.exact) : target_of(boot ? e.off_boot : e.off);
  if (target == entry) return;
  // Past a jump that stands there, so that jumps are not chained; slow paths are not in the view.
  if (mode == Mode::kExact ||
      !arch::write_jump(at, runs_at, arch::behind_jump(in_view(view, target), target)))
    arch::write_jump(at, runs_at, target);
}

void patch_entries(unsigned char* view, Mode mode, bool timed) noexcept {
  for (const ModeEntry* e = __start_mallard_entries; e != __stop_mallard_entries; ++e) {
    const std::uintptr_t entry = target_of(e->entry);
    write_first(view, *e, mode, target_of(e->goes_on));
    if (timed) arch::write_jump(in_view(view, entry), entry, target_of(e->counts));
    else write_first(view, *e, mode, entry);
  }
}

/// A patched copy in a memfd, mapped over the exports: where memory must not become executable after it was
/// writable (systemd's MemoryDenyWriteExecute, SELinux).
bool map_over(const void* copy) noexcept {
  constexpr long kCloseOnExec = 1;
  const long fd = os::call(SYS_memfd_create, os::arg("mallard-exports"), kCloseOnExec);
  if (fd < 0) return false;
  bool done = false;
  if (os::write_all(static_cast<int>(fd), copy, exports_bytes()) == 0)
    done = os::call(SYS_mmap, os::arg(exports()), static_cast<long>(exports_bytes()), PROT_READ | PROT_EXEC,
                    MAP_PRIVATE | MAP_FIXED, fd, 0) == os::arg(exports());
  os::close(static_cast<int>(fd));
  return done;
}

/// Puts `copy`, made by os::map(), in the place of the exports in one step: the kernel takes the old pages
/// away and moves the new ones in while page faults wait. Consumes the copy.
bool exchange(void* copy) noexcept {
  if (os::protect(copy, exports_bytes(), PROT_READ | PROT_EXEC) &&
      os::move_over(copy, exports(), exports_bytes()))
    return true;
  const bool done = map_over(copy);
  os::unmap(copy, exports_bytes());
  return done;
}

void* copy_of_exports() noexcept {
  void* copy = os::map(exports_bytes());
  if (copy) memcpy(copy, exports(), exports_bytes());
  return copy;
}

}  // namespace

bool patch_at_start(Mode mode, bool timed) noexcept {
  const auto entries = static_cast<std::size_t>(__stop_mallard_entries - __start_mallard_entries);
  for (std::size_t i = 0; i < entries && i < kMaxEntries; ++i)
    memcpy(g_compiled[i], reinterpret_cast<const void*>(target_of(__start_mallard_entries[i].entry)),
           kJumpBytes);
  int far_away = 0;
  // One step to writable *and* executable: where that is denied, a later step back to executable would be
  // denied too, and the process could not call malloc any more.
  if (os::protect(exports(), exports_bytes(), PROT_READ | PROT_WRITE | PROT_EXEC)) {
    far_away = patch_jumps(exports());
    patch_entries(exports(), mode, timed);
    os::protect(exports(), exports_bytes(), PROT_READ | PROT_EXEC);
    g_patchable = true;
  } else if (void* copy = copy_of_exports()) {
    far_away = patch_jumps(static_cast<unsigned char*>(copy));
    patch_entries(static_cast<unsigned char*>(copy), mode, timed);
    g_patchable = exchange(copy);
  }
  if (!g_patchable) {
    if (options().verbose) say::text_not_patched("the kernel does not let code be changed");
  } else if (far_away && options().verbose && backend().object != elf::first_object()) {
    say::text_not_patched("the backend is further than 2 GiB away");
  }
  return g_patchable;
}

bool patch_mode(Mode mode, bool timed) noexcept {
  if (!g_patchable) return false;
  void* copy = copy_of_exports();
  if (!copy) return false;
  patch_entries(static_cast<unsigned char*>(copy), mode, timed);
  return exchange(copy);
}

}  // namespace mallard::interpose
