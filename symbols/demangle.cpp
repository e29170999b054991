// SPDX-License-Identifier: Apache-2.0
#include "symbols/demangle.hpp"

#include <sys/mman.h>

#include <cstdint>

#include "arch/stack_switch.hpp"
#include "base/attributes.hpp"
#include "base/os.hpp"

// libiberty's callback interface: the two functions of demangle.h that are linked in.
extern "C" {
using DemangleCallback = void (*)(const char* text, std::size_t length, void* opaque);
int rust_demangle_callback(const char* mangled, int options, DemangleCallback callback, void* opaque);
int cplus_demangle_v3_callback(const char* mangled, int options, DemangleCallback callback, void* opaque);
}

namespace mallard::symbols {
namespace {

// DMGL_PARAMS, DMGL_ANSI, DMGL_RET_DROP: return types say nothing about where memory comes from.
constexpr int kParameters = 1 << 0, kQualifiers = 1 << 1, kNoReturnType = 1 << 6;

// libiberty itself refuses C++ names from 1 KiB on; below that it keeps at most 72 bytes per character on
// its stack, a product that is bounded here, and 1024 nested calls.
constexpr std::size_t kStackBytes = 4u << 20;
constexpr std::size_t kMaxTemplateProduct = 16 * 1024;
constexpr std::size_t kPoolBytes = 64 * 1024;

/// The memory that libiberty asks of malloc: for Rust identifiers beyond ASCII. Set during a run only.
constinit thread_local Demangler::Work* t_work = nullptr;

}  // namespace

struct Demangler::Work {
  char* to;
  std::size_t size, capacity;
  bool overflow;
  void* way_out;  ///< frame to which an overflow returns
  int (*function)(const char*, int, DemangleCallback, void*);
  int options;
  int good;
  std::size_t pool_used;
  char mangled[kMaxMangledBytes + 1];
  alignas(16) char pool[kPoolBytes];
};

}  // namespace mallard::symbols

using mallard::symbols::t_work;

// What scripts/prelink puts in the place of libiberty's imports.
extern "C" __attribute__((visibility("hidden"))) void* mallard_demangle_malloc(std::size_t bytes) noexcept {
  auto* work = t_work;
  constexpr std::size_t kHeader = 16;  // keeps the size, for realloc
  if (!work || bytes > sizeof work->pool) return nullptr;
  const std::size_t need = kHeader + mallard::align_up(bytes, 16);
  if (need > sizeof work->pool - work->pool_used) return nullptr;
  char* block = work->pool + work->pool_used + kHeader;
  __builtin_memcpy(block - kHeader, &bytes, sizeof bytes);
  work->pool_used += need;
  return block;
}

extern "C" __attribute__((visibility("hidden"))) void* mallard_demangle_realloc(void* old,
                                                                                std::size_t bytes) noexcept {
  void* block = mallard_demangle_malloc(bytes);
  if (!old || !block) return block;
  std::size_t old_bytes;
  __builtin_memcpy(&old_bytes, static_cast<char*>(old) - 16, sizeof old_bytes);
  __builtin_memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
  return block;
}

extern "C" __attribute__((visibility("hidden"))) void mallard_demangle_free(void*) noexcept {}

namespace mallard::symbols {
namespace {

using Work = Demangler::Work;

// Frames that mallard_leave_stack may drop: AddressSanitizer would keep their red zones.
#define MALLARD_DROPPED_FRAME __attribute__((no_sanitize_address))

MALLARD_DROPPED_FRAME void on_text(const char* text, std::size_t length, void* opaque) {
  auto* work = static_cast<Work*>(opaque);
  if (length == 0) return;  // then even `text` may be null
  const std::size_t room = work->capacity - work->size;
  const std::size_t taken = length < room ? length : room;
  __builtin_memcpy(work->to + work->size, text, taken);
  work->size += taken;
  if (taken == length) return;
  work->overflow = true;
  mallard_leave_stack(work->way_out);
}

MALLARD_DROPPED_FRAME void run_libiberty(void* opaque) {
  auto* work = static_cast<Work*>(opaque);
  work->good = work->function(work->mangled, work->options, on_text, work);
}

enum class Outcome : std::uint8_t { kNotMangled, kComplete, kOverflow };

Outcome run(Work* work, decltype(Work::function) function, int options, char* to,
            std::size_t bytes) noexcept {
  work->to = to;
  work->size = 0;
  work->capacity = bytes;
  work->overflow = false;
  work->function = function;
  work->options = options;
  work->good = 0;
  work->pool_used = 0;
  t_work = work;
  mallard_call_on_stack(run_libiberty, work, work, &work->way_out);
  t_work = nullptr;
  if (work->overflow) return Outcome::kOverflow;
  return work->good && work->size > 0 ? Outcome::kComplete : Outcome::kNotMangled;
}

/// libiberty reserves (templates x references to template parameters) structures on its stack.
bool is_modest(std::string_view mangled) noexcept {
  std::size_t templates = 1, references = 1;
  char before = 0;
  for (char c : mangled) {
    templates += c == 'I';
    references += (before == 'R' || before == 'O') && (c == 'T' || c == 'S');
    before = c;
  }
  return templates * references <= kMaxTemplateProduct;
}

bool may_be_mangled(std::string_view name) noexcept {
  return name.starts_with("_Z") || name.starts_with("_R") || name.starts_with("_GLOBAL_");
}

}  // namespace

Demangler::Demangler() noexcept {
  static_assert(alignof(Work) == 16);
  constexpr std::size_t kWorkBytes = (sizeof(Work) + kPageBytes - 1) & ~(kPageBytes - 1);
  // From low to high: a guard page, the stack, Work. Untouched pages cost nothing.
  auto* all = static_cast<char*>(os::map_sparse(kPageBytes + kStackBytes + kWorkBytes));
  if (!all) return;
  os::protect(all, kPageBytes, PROT_NONE);
  work_ = reinterpret_cast<Work*>(all + kPageBytes + kStackBytes);
}

Demangler::~Demangler() {
  constexpr std::size_t kWorkBytes = (sizeof(Work) + kPageBytes - 1) & ~(kPageBytes - 1);
  if (work_)
    os::unmap(reinterpret_cast<char*>(work_) - kStackBytes - kPageBytes,
              kPageBytes + kStackBytes + kWorkBytes);
}

std::string_view Demangler::demangle(std::string_view mangled, char* to, std::size_t bytes) noexcept {
  if (!work_ || bytes < 8 || mangled.size() > kMaxMangledBytes || !may_be_mangled(mangled)) return mangled;
  __builtin_memcpy(work_->mangled, mangled.data(), mangled.size());
  work_->mangled[mangled.size()] = '\0';

  Outcome outcome = run(work_, rust_demangle_callback, kParameters, to, bytes);
  if (outcome == Outcome::kNotMangled && is_modest(mangled)) {
    outcome = run(work_, cplus_demangle_v3_callback, kParameters | kQualifiers | kNoReturnType, to, bytes);
    if (outcome == Outcome::kOverflow) outcome = run(work_, cplus_demangle_v3_callback, 0, to, bytes);
  }
  if (outcome == Outcome::kNotMangled) return mangled;
  if (outcome == Outcome::kOverflow) __builtin_memcpy(to + bytes - 3, "...", 3);
  return {to, work_->size};
}

}  // namespace mallard::symbols
