// SPDX-License-Identifier: Apache-2.0
#include "attach/slots.hpp"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <algorithm>
#include <initializer_list>
#include <span>

#include "arch/elf.hpp"
#include "attach/calls.hpp"
#include "base/os.hpp"
#include "base/text.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/mapped_segments.hpp"

namespace mallard::attach {
namespace {

constexpr const char* kNoMalloc = "malloc, free, calloc and realloc do not come from one object";
constexpr const char* kOwnMalloc =
    "the executable defines malloc itself: what it calls goes through no slot that could be redirected";
constexpr const char* kSanitizer = "a sanitizer's runtime keeps its own books of every block";
constexpr const char* kNotWritable = "the kernel does not let the slots of a loaded object be written";

constinit const link_map* g_allocator = nullptr;  ///< is never unloaded: it serves the process

std::span<const ElfW(Phdr)> segments_of(const link_map* object) noexcept {
  if (object == elf::first_object())  // its load bias may be 0
    return {reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR)), getauxval(AT_PHNUM)};
  return elf::mapped_segments(object->l_addr);
}

/// A slot by one of the names.
struct Slot {
  std::uintptr_t at;
  const Redirection* function;
  bool is_jump;  ///< may still lead to the stub of its first call
};

void* value_of(const Slot& slot) noexcept {
  return __atomic_load_n(reinterpret_cast<void**>(slot.at), __ATOMIC_ACQUIRE);
}

/// Whether the slot can be written at all once its page is opened: it lies in writable data.
bool lies_in_data(std::span<const ElfW(Phdr)> segments, std::uintptr_t bias, std::uintptr_t at) noexcept {
  for (const ElfW(Phdr) & s : segments)
    if (s.p_type == PT_LOAD && (s.p_flags & PF_W) && at - (bias + s.p_vaddr) < s.p_memsz) return true;
  return false;
}

const Redirection* named(const char* name) noexcept {
  for (const Redirection& r : redirections())
    if (*r.real && name[0] == r.name[0] && strcmp(name, r.name) == 0) return &r;
  return nullptr;
}

/// Calls visit(slot) for each slot of the object by one of the names, until it returns false.
template <class Visit>
bool for_each_slot(const link_map* object, Visit visit) noexcept {
  const elf::DynamicTables t = elf::dynamic_tables(object);
  if (!t.strings || !t.symbols) return true;
  const auto segments = segments_of(object);
  const auto look_at = [&](const ElfW(Rela) & r) noexcept {
    const auto type = static_cast<std::uint32_t>(ELF64_R_TYPE(r.r_info));
    const std::size_t index = ELF64_R_SYM(r.r_info);
    if (index == 0 || !arch::is_address_relocation(type)) return true;
    const char* name = t.strings + t.symbols[index].st_name;
    if (!strchr("_macrfpvsd", name[0])) return true;
    const Redirection* function = named(name);
    const std::uintptr_t at = object->l_addr + r.r_offset;
    if (!function || at % sizeof(void*) != 0 || !lies_in_data(segments, object->l_addr, at)) return true;
    return visit(Slot{at, function, arch::is_jump_relocation(type)});
  };
  for (std::size_t i = 0; i < t.plt_relocation_count; ++i)
    if (!look_at(t.plt_relocations[i])) return false;
  for (std::size_t i = 0; i < t.relocation_count; ++i)
    if (!look_at(t.relocations[i])) return false;
  return true;
}

/// Objects whose slots are redirected: not our own, not the loader's, and no allocator's, whose calls of its
/// own functions are not the program's.
bool is_redirected(const link_map* object) noexcept {
  return object != elf::own_object() && !elf::find_symbol(object, "__tls_get_addr") &&
         (object != g_allocator || object == elf::libc_object());
}

template <class Visit>
bool for_each_object(Visit visit) noexcept {
  for (const link_map* object = elf::first_object(); object; object = object->l_next)
    if (is_redirected(object) && !visit(object)) return false;
  return true;
}

/// Whether a slot's value is the stub of a first call: code of the object itself.
bool is_stub(const link_map* object, const void* value) noexcept {
  std::uintptr_t begin, end;
  return elf::text_range(object, &begin, &end) && address_of(value) - begin < end - begin;
}

/// Whether the slot leads to what it would lead to without us, and is to lead here.
bool is_own_function(const link_map* object, const Slot& slot) noexcept {
  const void* now = value_of(slot);
  return now == *slot.function->real || (slot.is_jump && is_stub(object, now));
}

/// Objects in which a slot leads here, and the first of these: what another object that took one's place has
/// there is something else.
struct Known {
  const link_map* object;
  std::uintptr_t slot;
};
constexpr std::size_t kMostKnown = 512;  // the others are looked through each time
constinit Known g_known[kMostKnown]{};
constinit std::size_t g_known_count = 0;

void remember(const link_map* object, std::uintptr_t slot) noexcept {
  Known* at = std::find_if(g_known, g_known + g_known_count,
                           [object](const Known& k) noexcept { return k.object == object; });
  if (at == g_known + kMostKnown) return;
  if (at == g_known + g_known_count) ++g_known_count;
  *at = {object, slot};
}

bool is_known(const link_map* object) noexcept {
  const Known* at = std::find_if(g_known, g_known + g_known_count,
                                 [object](const Known& k) noexcept { return k.object == object; });
  if (at == g_known + g_known_count || !lies_in_data(segments_of(object), object->l_addr, at->slot))
    return false;
  const void* now = __atomic_load_n(reinterpret_cast<void**>(at->slot), __ATOMIC_RELAXED);
  const auto all = redirections();
  return std::any_of(all.begin(), all.end(), [now](const Redirection& r) noexcept { return r.to == now; });
}

/// What the loader has made read-only after it had filled the slots.
struct Pages {
  std::uintptr_t begin = 0, end = 0;
  bool hold(std::uintptr_t at) const noexcept { return at >= begin && at < end; }
};
Pages closed_pages(const link_map* object) noexcept {
  for (const ElfW(Phdr) & s : segments_of(object)) {
    if (s.p_type != PT_GNU_RELRO) continue;
    const std::uintptr_t begin = object->l_addr + s.p_vaddr;
    return {begin & ~(kPageBytes - 1), (begin + s.p_memsz) & ~(kPageBytes - 1)};
  }
  return {};
}

/// Opens the object's read-only pages that have slots to write, or closes them.
template <class Wanted>
bool protect(const link_map* object, int protection, Wanted is_wanted) noexcept {
  const Pages closed = closed_pages(object);
  std::uintptr_t last = 0;
  return for_each_slot(object, [&](const Slot& slot) noexcept {
    const std::uintptr_t page = slot.at & ~(kPageBytes - 1);
    if (!closed.hold(slot.at) || page == last || !is_wanted(slot)) return true;
    last = page;
    return os::protect(reinterpret_cast<void*>(page), kPageBytes, protection);
  });
}

bool close_pages(const link_map* object) noexcept {
  return protect(object, PROT_READ, [](const Slot&) noexcept { return true; });
}

/// Another thread may be binding the slot by its first call: what it writes then is the process's own, and
/// the slot is one that is not redirected.
bool write(const Slot& slot, void* before, void* to) noexcept {
  return __atomic_compare_exchange_n(reinterpret_cast<void**>(slot.at), &before, to, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED);
}

const link_map* owner_of(const char* name, Whose whose) noexcept {
  const link_map* first = elf::find_definer(elf::first_object(), name);
  if (whose == Whose::kLoader) return first;
  if (first != g_allocator || (whose == Whose::kOwnAllocator && first == elf::libc_object())) return nullptr;
  return first;
}

}  // namespace

const char* find_functions(bool is_watched, const link_map** allocator) noexcept {
  g_allocator = *allocator = elf::find_definer(elf::first_object(), "malloc");
  if (!g_allocator) return kNoMalloc;
  if (g_allocator == elf::first_object()) return is_watched ? nullptr : kOwnMalloc;
  for (const char* mark : {"__asan_init", "__tsan_init", "__msan_init", "__hwasan_init"})
    if (elf::find_symbol(g_allocator, mark)) return kSanitizer;
  for (const Redirection& r : redirections()) {
    const link_map* owner = owner_of(r.name, r.whose);
    if (!owner && r.whose == Whose::kAllocator) return kNoMalloc;
    if (owner && !*r.real) *r.real = elf::find_symbol(owner, r.name);
  }
  set_usable_size(elf::find_function<std::size_t(void*)>(g_allocator, "malloc_usable_size"));
  return nullptr;
}

const char* lead_here(Objects which, Slots* out) noexcept {
  *out = {};
  const auto is_left_out = [which](const link_map* object) noexcept {
    return which == Objects::kNew && is_known(object);
  };
  const bool opened = for_each_object([&](const link_map* object) noexcept {
    return is_left_out(object) ||
           protect(object, PROT_READ | PROT_WRITE,
                   [object](const Slot& slot) noexcept { return is_own_function(object, slot); });
  });
  if (!opened) {
    for_each_object([&](const link_map* object) noexcept {
      if (!is_left_out(object)) close_pages(object);
      return true;
    });
    return kNotWritable;
  }
  for_each_object([&](const link_map* object) noexcept {
    if (is_left_out(object)) return true;
    const std::uint32_t before = out->led;
    for_each_slot(object, [&](const Slot& slot) noexcept {
      void* now = value_of(slot);
      const bool here =
          now == slot.function->to || (is_own_function(object, slot) && write(slot, now, slot.function->to));
      if (here && out->led == before) remember(object, slot.at);
      out->led += here;
      out->elsewhere += !here;
      return true;
    });
    out->objects += out->led != before;
    close_pages(object);
    return true;
  });
  return nullptr;
}

bool lead_back(Slots* out) noexcept {
  *out = {};
  const auto leads_here = [](const Slot& slot) noexcept { return value_of(slot) == slot.function->to; };
  bool all = true;
  for_each_object([&](const link_map* object) noexcept {
    const std::uint32_t before = out->led;
    if (!protect(object, PROT_READ | PROT_WRITE, leads_here)) {
      all = false;
      return true;
    }
    for_each_slot(object, [&](const Slot& slot) noexcept {
      out->led += leads_here(slot) && write(slot, slot.function->to, *slot.function->real);
      return true;
    });
    out->objects += out->led != before;
    close_pages(object);
    return true;
  });
  return all;
}

}  // namespace mallard::attach
