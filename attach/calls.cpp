// SPDX-License-Identifier: Apache-2.0
// Each function is a short one, which ends in a jump to the process's own where there is nothing to record,
// and a slow one, which the short one jumps to: the frame of the slow one has the host's call as its caller.
#include "attach/calls.hpp"

#include <errno.h>

#include "arch/caller.hpp"
#include "attach/booking.hpp"
#include "attach/duties.hpp"
#include "attach/loader_calls.hpp"
#include "record/exact/exact.hpp"
#include "record/exact/moved_block.hpp"
#include "record/record.hpp"

namespace mallard::attach {
namespace {

using arch::Caller;

using UsableSize = std::size_t(void*);
constinit UsableSize* g_usable_size = nullptr;

void book(void* p, std::size_t bytes, bool sampled, const Caller& caller) noexcept {
  attach::book(p, bytes, sampled, caller, g_usable_size);
}

/// What there is to do for a request.
enum class Todo : std::uint8_t { kNothing, kDecide, kAll };
inline Todo todo_for(std::size_t bytes) noexcept {
  const std::uint32_t now = duties();
  if (MALLARD_LIKELY(now == kCounts))
    return MALLARD_UNLIKELY(record::count(bytes)) ? Todo::kDecide : Todo::kNothing;
  return now == 0 ? Todo::kNothing : Todo::kAll;
}

// ---- where the size stands among the arguments

struct First {
  template <class... Rest>
  static std::size_t bytes(std::size_t size, Rest...) noexcept {
    return size;
  }
};
struct Second {
  template <class... Rest>
  static std::size_t bytes(std::size_t, std::size_t size, Rest...) noexcept {
    return size;
  }
};
struct Product {
  static std::size_t bytes(std::size_t count, std::size_t size) noexcept {
    std::size_t product;
    return __builtin_mul_overflow(count, size, &product) ? ~std::size_t{0} : product;
  }
};

/// A function that allocates. \tparam kNumber  tells functions of one type apart
template <int kNumber, class Size, class... Arguments>
struct Allocates {
  using Function = void*(Arguments...);
  static inline constinit Function* real = nullptr;

  // Not noexcept: operator new throws, through these frames.
  MALLARD_NOINLINE static void* slow(Arguments... arguments, bool counted) {
    const Caller caller = MALLARD_CALLER();
    const std::size_t bytes = Size::bytes(arguments...);
    const bool sampled = is_drawn(bytes, counted);
    void* p = real(arguments...);
    book(p, bytes, sampled, caller);
    return p;
  }
  static void* call(Arguments... arguments) {
    const Todo todo = todo_for(Size::bytes(arguments...));
    if (MALLARD_LIKELY(todo == Todo::kNothing)) return real(arguments...);
    return slow(arguments..., todo == Todo::kDecide);
  }
};

/// A function that frees its first argument.
template <int kNumber, class... Arguments>
struct Frees {
  using Function = void(void*, Arguments...);
  static inline constinit Function* real = nullptr;

  MALLARD_NOINLINE static void slow(void* p, Arguments... arguments) {
    forget(p);
    real(p, arguments...);
  }
  static void call(void* p, Arguments... arguments) {
    const std::uint32_t now = duties();
    if (MALLARD_LIKELY(now == 0 || (now == kCounts && !record::may_be_tracked(p))))
      return real(p, arguments...);
    slow(p, arguments...);
  }
};

/// A function that moves a block. \tparam kFails  a result of null means that the block stays as it was
template <int kNumber, class... Arguments>
struct Moves {
  using Function = void*(void*, std::size_t, Arguments...);
  static inline constinit Function* real = nullptr;

  static void* moved(void* p, std::size_t bytes, Arguments... arguments, bool counted, const Caller& caller) {
    const bool sampled = is_drawn(bytes, counted);
    const record::Unbooked before = record::unbook(p, unbooks_exactly);
    void* to = real(p, bytes, arguments...);
    if (!to && bytes != 0) record::book_again(p, before);  // asked for nothing, it was freed
    book(to, bytes, sampled, caller);
    return to;
  }
  MALLARD_NOINLINE static void* slow(void* p, std::size_t bytes, Arguments... arguments, bool counted) {
    return moved(p, bytes, arguments..., counted, MALLARD_CALLER());
  }
  static void* call(void* p, std::size_t bytes, Arguments... arguments) {
    const std::uint32_t now = duties();
    if (MALLARD_LIKELY(now == kCounts)) {
      const bool counted = record::count(bytes);
      if (MALLARD_LIKELY(!counted && !record::may_be_tracked(p))) return real(p, bytes, arguments...);
      return counted ? slow(p, bytes, arguments..., true) : track(p, bytes, arguments...);
    }
    if (now == 0) return real(p, bytes, arguments...);
    return slow(p, bytes, arguments..., false);
  }
  /// The block may be a sample, and the request is none.
  MALLARD_NOINLINE static void* track(void* p, std::size_t bytes, Arguments... arguments) {
    const record::Unbooked before = record::unbook(p, unbooks_exactly);
    void* to = real(p, bytes, arguments...);
    if (!to && bytes != 0) record::book_again(p, before);
    return to;
  }
};

// ---- the functions

enum Number { kMalloc, kCalloc, kValloc, kPvalloc, kMemalign, kAlignedAlloc, kNew, kNewArray, kOther };
using Malloc = Allocates<kMalloc, First, std::size_t>;
using Calloc = Allocates<kCalloc, Product, std::size_t, std::size_t>;
using Valloc = Allocates<kValloc, First, std::size_t>;
using Pvalloc = Allocates<kPvalloc, First, std::size_t>;
using Memalign = Allocates<kMemalign, Second, std::size_t, std::size_t>;
using AlignedAlloc = Allocates<kAlignedAlloc, Second, std::size_t, std::size_t>;
using Realloc = Moves<0>;
using Free = Frees<0>;
using Cfree = Frees<1>;

// Forms of operator new and delete that an allocator brings: they reach no malloc that could be redirected.
using Tag = const void*;
using Align = std::size_t;
using New = Allocates<kNew, First, std::size_t>;
using NewArray = Allocates<kNewArray, First, std::size_t>;
using NewNothrow = Allocates<kNew, First, std::size_t, Tag>;
using NewArrayNothrow = Allocates<kNewArray, First, std::size_t, Tag>;
using NewAligned = Allocates<kNew, First, std::size_t, Align>;
using NewArrayAligned = Allocates<kNewArray, First, std::size_t, Align>;
using NewAlignedNothrow = Allocates<kNew, First, std::size_t, Align, Tag>;
using NewArrayAlignedNothrow = Allocates<kNewArray, First, std::size_t, Align, Tag>;
template <class... Arguments>
using Delete = Frees<2, Arguments...>;
template <class... Arguments>
using DeleteArray = Frees<3, Arguments...>;
/// A tag and an alignment are two types here, which would be one to the linker.
template <class... Arguments>
using DeleteSized = Frees<4, Arguments...>;
template <class... Arguments>
using DeleteArraySized = Frees<5, Arguments...>;

// jemalloc's own interface.
using Mallocx = Allocates<kOther, First, std::size_t, int>;
using Rallocx = Moves<1, int>;
using Dallocx = Frees<6, int>;
using Sdallocx = Frees<7, std::size_t, int>;

using PosixMemalign = int(void**, std::size_t, std::size_t);
constinit PosixMemalign* g_posix_memalign = nullptr;

MALLARD_NOINLINE int posix_memalign_slow(void** to, std::size_t alignment, std::size_t bytes, bool counted) {
  const Caller caller = MALLARD_CALLER();
  const bool sampled = is_drawn(bytes, counted);
  const int error = g_posix_memalign(to, alignment, bytes);
  if (error == 0) book(*to, bytes, sampled, caller);
  return error;
}

int posix_memalign(void** to, std::size_t alignment, std::size_t bytes) {
  const Todo todo = todo_for(bytes);
  if (MALLARD_LIKELY(todo == Todo::kNothing)) return g_posix_memalign(to, alignment, bytes);
  return posix_memalign_slow(to, alignment, bytes, todo == Todo::kDecide);
}

// The one of libc calls realloc by a reference that leads here already: a call must not count twice.
using Reallocarray = void*(void*, std::size_t, std::size_t);
constinit Reallocarray* g_reallocarray = nullptr;

void* reallocarray(void* p, std::size_t count, std::size_t size) {
  std::size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  if (duties() == 0) return Realloc::real(p, bytes);
  return Realloc::moved(p, bytes, false, MALLARD_CALLER());
}

template <class T>
void* address(T* function) noexcept {
  return reinterpret_cast<void*>(function);
}
template <class T>
void** place(T*& function) noexcept {
  return reinterpret_cast<void**>(&function);
}
template <class F>
Redirection least(const char* name) noexcept {
  return {name, address(F::call), place(F::real), Whose::kAllocator};
}
template <class F>
Redirection plain(const char* name) noexcept {
  return {name, address(F::call), place(F::real), Whose::kAllocatorToo};
}
template <class F>
Redirection of_allocator(const char* name) noexcept {
  return {name, address(F::call), place(F::real), Whose::kOwnAllocator};
}

constexpr std::size_t kMost = 48;
constinit Redirection g_all[kMost]{};
constinit std::size_t g_count = 0;

void add(const Redirection& r) noexcept {
  if (g_count < kMost) g_all[g_count++] = r;
}

void list_c() noexcept {
  add(least<Malloc>("malloc"));
  add(least<Free>("free"));
  add(least<Calloc>("calloc"));
  add(least<Realloc>("realloc"));
  add({"posix_memalign", address(posix_memalign), place(g_posix_memalign), Whose::kAllocatorToo});
  add(plain<AlignedAlloc>("aligned_alloc"));
  add(plain<Memalign>("memalign"));
  add(plain<Valloc>("valloc"));
  add(plain<Pvalloc>("pvalloc"));
  add({"reallocarray", address(reallocarray), place(g_reallocarray), Whose::kAllocatorToo});
  add(plain<Cfree>("cfree"));
  add(of_allocator<Mallocx>("mallocx"));
  add(of_allocator<Rallocx>("rallocx"));
  add(of_allocator<Dallocx>("dallocx"));
  add(of_allocator<Sdallocx>("sdallocx"));
  add({"dlopen", address(mallard_attached_dlopen), place(mallard_attached_real_dlopen), Whose::kLoader});
  add({"dlsym", address(mallard_attached_dlsym), place(mallard_attached_real_dlsym), Whose::kLoader});
}

void list_cxx() noexcept {
  add(of_allocator<New>("_Znwm"));
  add(of_allocator<NewArray>("_Znam"));
  add(of_allocator<NewNothrow>("_ZnwmRKSt9nothrow_t"));
  add(of_allocator<NewArrayNothrow>("_ZnamRKSt9nothrow_t"));
  add(of_allocator<NewAligned>("_ZnwmSt11align_val_t"));
  add(of_allocator<NewArrayAligned>("_ZnamSt11align_val_t"));
  add(of_allocator<NewAlignedNothrow>("_ZnwmSt11align_val_tRKSt9nothrow_t"));
  add(of_allocator<NewArrayAlignedNothrow>("_ZnamSt11align_val_tRKSt9nothrow_t"));
  add(of_allocator<Delete<>>("_ZdlPv"));
  add(of_allocator<DeleteArray<>>("_ZdaPv"));
  add(of_allocator<DeleteSized<std::size_t>>("_ZdlPvm"));
  add(of_allocator<DeleteArraySized<std::size_t>>("_ZdaPvm"));
  add(of_allocator<Delete<Tag>>("_ZdlPvRKSt9nothrow_t"));
  add(of_allocator<DeleteArray<Tag>>("_ZdaPvRKSt9nothrow_t"));
  add(of_allocator<Delete<Align>>("_ZdlPvSt11align_val_t"));
  add(of_allocator<DeleteArray<Align>>("_ZdaPvSt11align_val_t"));
  add(of_allocator<DeleteSized<std::size_t, Align>>("_ZdlPvmSt11align_val_t"));
  add(of_allocator<DeleteArraySized<std::size_t, Align>>("_ZdaPvmSt11align_val_t"));
  add(of_allocator<Delete<Align, Tag>>("_ZdlPvSt11align_val_tRKSt9nothrow_t"));
  add(of_allocator<DeleteArray<Align, Tag>>("_ZdaPvSt11align_val_tRKSt9nothrow_t"));
}

}  // namespace

std::span<const Redirection> redirections() noexcept {
  if (g_count == 0) {
    list_c();
    list_cxx();
  }
  return {g_all, g_count};
}

void set_usable_size(std::size_t (*function)(void*)) noexcept { g_usable_size = function; }

}  // namespace mallard::attach
