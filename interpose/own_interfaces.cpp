// SPDX-License-Identifier: Apache-2.0
#include "interpose/own_interfaces.hpp"

#include <errno.h>
#include <string.h>

#include "elf/loaded_objects.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/slow_paths.hpp"

using namespace mallard;
using namespace mallard::interpose;

extern "C" {
// entry_answers.S of the architecture
void mallard_embedded_zalloc();
void mallard_embedded_malloc_aligned();
void mallard_embedded_zalloc_aligned();
void mallard_embedded_realloc_aligned();
void mallard_embedded_realloc();
void mallard_embedded_new_n();
void* _Znwm(std::size_t bytes);  // ours: throws when memory is out
}

namespace {

constexpr std::size_t kTooMuch = ~std::size_t{0};
constexpr std::size_t kMallocAlignment = 16;  // of every block of at least 16 bytes

/// \return kTooMuch, which every allocation refuses, on overflow
std::size_t product(std::size_t count, std::size_t size) noexcept {
  std::size_t bytes;
  return __builtin_mul_overflow(count, size, &bytes) ? kTooMuch : bytes;
}

std::size_t usable(void* p) noexcept { return p ? mallard_table.usable_size(p) : 0; }

/// Writes only where something else than zero stands: pages fresh from the kernel are read as zero without
/// taking memory, and would take it once written to.
void zero(char* from, std::size_t bytes) noexcept {
  while (bytes > 0) {
    const std::size_t to_page_end = kPageBytes - address_of(from) % kPageBytes;
    const std::size_t piece = bytes < to_page_end ? bytes : to_page_end;
    if (*from != 0 || memcmp(from, from + 1, piece - 1) != 0) memset(from, 0, piece);
    from += piece;
    bytes -= piece;
  }
}

/// Zeroes the block behind its first `from` bytes, to its very end, so that what rezalloc later finds behind
/// the request is zero, too.
void* zeroed_from(void* p, std::size_t from) noexcept {
  const std::size_t bytes = usable(p);
  if (p && bytes > from) zero(static_cast<char*>(p) + from, bytes - from);
  return p;
}

bool has_natural_alignment(std::size_t alignment, std::size_t bytes) noexcept {
  return alignment <= kMallocAlignment && (alignment <= 8 || bytes >= kMallocAlignment);
}

/// Whether most of a block may be fresh from the kernel, and the backend's calloc would write to it.
bool calloc_takes_memory(std::size_t bytes) noexcept {
  constexpr std::size_t kLarge = 256 << 10;
  return bytes >= kLarge && backend().calloc_writes;
}

void* fresh_zeroed(std::size_t alignment, std::size_t bytes, const Caller& caller) noexcept {
  const bool is_natural = has_natural_alignment(alignment, bytes);
  if (is_natural && calloc_takes_memory(bytes)) return zeroed_from(allocate(bytes, caller), 0);
  if (is_natural) return zeroed_from(allocate_zeroed(1, bytes, caller), bytes);
  return zeroed_from(allocate_aligned(alignment, bytes, caller), 0);
}

/// mimalloc and jemalloc's rallocx never answer null to a request that can be met, not even for 0 bytes.
void* moved(void* p, std::size_t alignment, std::size_t bytes, const Caller& caller) noexcept {
  if (has_natural_alignment(alignment, bytes)) return reallocate(p, bytes ? bytes : 1, caller);
  void* fresh = allocate_aligned(alignment, bytes, caller);
  if (!fresh || !p) return fresh;
  const std::size_t old = usable(p);
  memcpy(fresh, p, old < bytes ? old : bytes);
  release(p);
  return fresh;
}

void* moved_zeroed(void* p, std::size_t alignment, std::size_t bytes, const Caller& caller) noexcept {
  const std::size_t old = usable(p);
  void* q = moved(p, alignment, bytes, caller);
  return q ? zeroed_from(q, old) : nullptr;
}

void tell(std::size_t* where, void* p) noexcept {
  if (where) *where = usable(p);
}

char* copied(const char* text, std::size_t length, const Caller& caller) noexcept {
  auto* copy = static_cast<char*>(allocate(length + 1, caller));
  if (!copy) return nullptr;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

// jemalloc's flags: the alignment's logarithm, and these. Caches and arenas (higher bits) are its own matter.
constexpr int kAlignmentBits = 63, kZero = 64;
constexpr std::size_t alignment_in(int flags) noexcept { return std::size_t{1} << (flags & kAlignmentBits); }

}  // namespace

// Each is jumped to from the program's call: its caller is the program.
extern "C" {

__attribute__((visibility("hidden"))) void* mallard_embedded_malloc_wide(std::size_t bytes,
                                                                         std::size_t alignment) {
  return allocate_aligned(alignment, bytes, MALLARD_CALLER());
}
__attribute__((visibility("hidden"))) void* mallard_embedded_zalloc_wide(std::size_t bytes,
                                                                         std::size_t alignment) {
  return fresh_zeroed(alignment, bytes, MALLARD_CALLER());
}
__attribute__((visibility("hidden"))) void* mallard_embedded_realloc_wide(void* p, std::size_t bytes,
                                                                          std::size_t alignment) {
  return moved(p, alignment, bytes, MALLARD_CALLER());
}
__attribute__((visibility("hidden"))) void* mallard_embedded_realloc_to_nothing(void* p, std::size_t bytes) {
  return moved(p, 1, bytes, MALLARD_CALLER());
}
}

namespace {

void* mallocn(std::size_t count, std::size_t size) {
  return allocate(product(count, size), MALLARD_CALLER());
}
void* reallocn(void* p, std::size_t count, std::size_t size) {
  return moved(p, 1, product(count, size), MALLARD_CALLER());
}
void* reallocf(void* p, std::size_t bytes) {
  void* q = moved(p, 1, bytes, MALLARD_CALLER());
  if (!q && p) release(p);
  return q;
}
void* rezalloc(void* p, std::size_t bytes) { return moved_zeroed(p, 1, bytes, MALLARD_CALLER()); }
void* recalloc(void* p, std::size_t count, std::size_t size) {
  return moved_zeroed(p, 1, product(count, size), MALLARD_CALLER());
}
void* calloc_aligned(std::size_t count, std::size_t size, std::size_t alignment) {
  return fresh_zeroed(alignment, product(count, size), MALLARD_CALLER());
}
void* rezalloc_aligned(void* p, std::size_t bytes, std::size_t alignment) {
  return moved_zeroed(p, alignment, bytes, MALLARD_CALLER());
}
void* recalloc_aligned(void* p, std::size_t count, std::size_t size, std::size_t alignment) {
  return moved_zeroed(p, alignment, product(count, size), MALLARD_CALLER());
}
int reallocarr(void** to, std::size_t count, std::size_t size) {
  const Caller caller = MALLARD_CALLER();
  const std::size_t bytes = product(count, size);
  if (bytes == kTooMuch) return errno = EOVERFLOW;
  void* q = moved(*to, 1, bytes, caller);
  if (!q) return errno = ENOMEM;
  *to = q;
  return 0;
}
/// Nothing grows in place here: the block is as large as it is.
void* expand(void* p, std::size_t bytes) { return p && usable(p) >= bytes ? p : nullptr; }
/// A lower bound that holds for every allocator.
std::size_t good_size(std::size_t bytes) { return bytes; }

void* umalloc(std::size_t bytes, std::size_t* block) {
  void* p = allocate(bytes, MALLARD_CALLER());
  tell(block, p);
  return p;
}
void* uzalloc(std::size_t bytes, std::size_t* block) {
  void* p = fresh_zeroed(1, bytes, MALLARD_CALLER());
  tell(block, p);
  return p;
}
void* ucalloc(std::size_t count, std::size_t size, std::size_t* block) {
  void* p = fresh_zeroed(1, product(count, size), MALLARD_CALLER());
  tell(block, p);
  return p;
}
void* urealloc(void* p, std::size_t bytes, std::size_t* before, std::size_t* after) {
  tell(before, p);
  void* q = moved(p, 1, bytes, MALLARD_CALLER());
  tell(after, q);
  return q;
}
void ufree(void* p, std::size_t* block) {
  tell(block, p);
  release(p);
}
void* umalloc_aligned(std::size_t bytes, std::size_t alignment, std::size_t* block) {
  void* p = allocate_aligned(alignment, bytes, MALLARD_CALLER());
  tell(block, p);
  return p;
}
void* uzalloc_aligned(std::size_t bytes, std::size_t alignment, std::size_t* block) {
  void* p = fresh_zeroed(alignment, bytes, MALLARD_CALLER());
  tell(block, p);
  return p;
}

void* new_realloc(void* p, std::size_t bytes) {
  void* q = moved(p, 1, bytes, MALLARD_CALLER());
  return q ? q : _Znwm(kTooMuch);
}
void* new_reallocn(void* p, std::size_t count, std::size_t size) {
  void* q = moved(p, 1, product(count, size), MALLARD_CALLER());
  return q ? q : _Znwm(kTooMuch);
}

char* strdup_taken(const char* text) { return text ? copied(text, strlen(text), MALLARD_CALLER()) : nullptr; }
char* strndup_taken(const char* text, std::size_t most) {
  return text ? copied(text, strnlen(text, most), MALLARD_CALLER()) : nullptr;
}
char* realpath_taken(const char* path, char* to) {
  auto* real = elf::find_function<char*(const char*, char*)>(elf::libc_object(), "realpath");
  if (real) return real(path, to);
  errno = ENOSYS;
  return nullptr;
}

void* mallocx(std::size_t bytes, int flags) {
  const Caller caller = MALLARD_CALLER();
  return flags & kZero ? fresh_zeroed(alignment_in(flags), bytes, caller)
                       : allocate_aligned(alignment_in(flags), bytes, caller);
}
void* rallocx(void* p, std::size_t bytes, int flags) {
  const Caller caller = MALLARD_CALLER();
  return flags & kZero ? moved_zeroed(p, alignment_in(flags), bytes, caller)
                       : moved(p, alignment_in(flags), bytes, caller);
}
std::size_t xallocx(void* p, std::size_t, std::size_t, int) { return usable(p); }
std::size_t sallocx(const void* p, int) { return usable(const_cast<void*>(p)); }
std::size_t nallocx(std::size_t bytes, int) { return bytes; }

template <typename Function>
const void* code(Function* f) noexcept {
  return reinterpret_cast<const void*>(f);
}

}  // namespace

namespace mallard::interpose {

const void* function_for(std::string_view target) noexcept {
  const struct {
    std::string_view name;
    const void* function;
  } table[] = {
      {"zalloc", code(mallard_embedded_zalloc)},
      {"mallocn", code(mallocn)},
      {"realloc_never_null", code(mallard_embedded_realloc)},
      {"reallocn", code(reallocn)},
      {"reallocf", code(reallocf)},
      {"rezalloc", code(rezalloc)},
      {"recalloc", code(recalloc)},
      {"malloc_aligned", code(mallard_embedded_malloc_aligned)},
      {"zalloc_aligned", code(mallard_embedded_zalloc_aligned)},
      {"calloc_aligned", code(calloc_aligned)},
      {"realloc_aligned", code(mallard_embedded_realloc_aligned)},
      {"rezalloc_aligned", code(rezalloc_aligned)},
      {"recalloc_aligned", code(recalloc_aligned)},
      {"strdup", code(strdup_taken)},
      {"strndup", code(strndup_taken)},
      {"realpath", code(realpath_taken)},
      {"new_n", code(mallard_embedded_new_n)},
      {"good_size", code(good_size)},
      {"expand", code(expand)},
      {"reallocarr", code(reallocarr)},
      {"umalloc", code(umalloc)},
      {"ucalloc", code(ucalloc)},
      {"uzalloc", code(uzalloc)},
      {"urealloc", code(urealloc)},
      {"ufree", code(ufree)},
      {"umalloc_aligned", code(umalloc_aligned)},
      {"uzalloc_aligned", code(uzalloc_aligned)},
      {"new_realloc", code(new_realloc)},
      {"new_reallocn", code(new_reallocn)},
      {"mallocx", code(mallocx)},
      {"rallocx", code(rallocx)},
      {"xallocx", code(xallocx)},
      {"sallocx", code(sallocx)},
      {"nallocx", code(nallocx)},
  };
  for (const auto& t : table)
    if (t.name == target) return t.function;
  const link_map* own = elf::own_object();
  return own ? elf::find_symbol(own, target.data()) : nullptr;  // the exports have the names of their targets
}

}  // namespace mallard::interpose
