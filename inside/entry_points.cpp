// SPDX-License-Identifier: Apache-2.0
#include "inside/entry_points.hpp"

#include <initializer_list>

#include "inside/known_allocators.hpp"

namespace mallard::inside {
namespace {

struct Entry {
  std::string_view name, target;
};

// mimalloc 2 and 3: after mi_, and those above the gap also after mi_heap_ and mi_theap_. Requests at an
// offset into an aligned block (mi_malloc_aligned_at) are not here: no other allocator can serve them.
constexpr Entry kMimallocHeap[] = {
    {"malloc", "malloc"},
    {"malloc_small", "malloc"},
    {"zalloc", "zalloc"},
    {"zalloc_small", "zalloc"},
    {"calloc", "calloc"},
    {"mallocn", "mallocn"},
    {"realloc", "realloc_never_null"},
    {"reallocn", "reallocn"},
    {"reallocf", "reallocf"},
    {"rezalloc", "rezalloc"},
    {"recalloc", "recalloc"},
    {"malloc_aligned", "malloc_aligned"},
    {"zalloc_aligned", "zalloc_aligned"},
    {"calloc_aligned", "calloc_aligned"},
    {"realloc_aligned", "realloc_aligned"},
    {"rezalloc_aligned", "rezalloc_aligned"},
    {"recalloc_aligned", "recalloc_aligned"},
    {"strdup", "strdup"},
    {"strndup", "strndup"},
    {"realpath", "realpath"},
    {"alloc_new", "_Znwm"},
    {"alloc_new_n", "new_n"},
};
constexpr Entry kMimallocOnly[] = {
    {"free", "free"},
    {"free_small", "free"},
    {"free_size", "free"},
    {"free_aligned", "free"},
    {"free_size_aligned", "free"},
    {"cfree", "free"},
    {"usable_size", "malloc_usable_size"},
    {"malloc_size", "malloc_usable_size"},
    {"malloc_usable_size", "malloc_usable_size"},
    {"good_size", "good_size"},
    {"malloc_good_size", "good_size"},
    {"expand", "expand"},
    {"_expand", "expand"},
    {"posix_memalign", "posix_memalign"},
    {"memalign", "memalign"},
    {"aligned_alloc", "aligned_alloc"},
    {"valloc", "valloc"},
    {"pvalloc", "pvalloc"},
    {"reallocarray", "reallocarray"},
    {"reallocarr", "reallocarr"},
    {"aligned_recalloc", "recalloc_aligned"},
    {"umalloc", "umalloc"},
    {"umalloc_small", "umalloc"},
    {"ucalloc", "ucalloc"},
    {"uzalloc_small", "uzalloc"},
    {"urealloc", "urealloc"},
    {"ufree", "ufree"},
    {"umalloc_aligned", "umalloc_aligned"},
    {"uzalloc_aligned", "uzalloc_aligned"},
    {"new", "_Znwm"},
    {"new_nothrow", "malloc"},
    {"new_aligned", "_ZnwmSt11align_val_t"},
    {"new_aligned_nothrow", "malloc_aligned"},
    {"new_n", "new_n"},
    {"new_realloc", "new_realloc"},
    {"new_reallocn", "new_reallocn"},
};

// jemalloc 4 and 5, after one of its prefixes.
constexpr std::string_view kJemallocPrefixes[] = {"_rjem_", "je_", "jemalloc_", ""};
constexpr Entry kJemallocExtended[] = {
    {"mallocx", "mallocx"}, {"rallocx", "rallocx"}, {"xallocx", "xallocx"}, {"sallocx", "sallocx"},
    {"dallocx", "free"},    {"sdallocx", "free"},   {"nallocx", "nallocx"},
};
constexpr std::string_view kJemallocStandard[] = {
    "malloc",   "free",   "calloc",  "realloc",    "posix_memalign",     "aligned_alloc",
    "memalign", "valloc", "pvalloc", "free_sized", "free_aligned_sized", "malloc_usable_size",
};
// What the fast paths leave to: compiled into a program by link-time optimisation, they call these.
constexpr std::string_view kJemallocInternal[] = {"malloc_default", "free_default", "sdallocx_default",
                                                  "smallocx*"};

// The malloc family of an executable: what libmallard.so exports under the same name.
constexpr std::string_view kProgram[] = {"malloc",
                                         "free",
                                         "calloc",
                                         "realloc",
                                         "reallocarray",
                                         "memalign",
                                         "posix_memalign",
                                         "aligned_alloc",
                                         "valloc",
                                         "pvalloc",
                                         "cfree",
                                         "malloc_usable_size",
                                         "free_sized",
                                         "free_aligned_sized",
                                         "malloc_trim",
                                         "mallinfo",
                                         "mallinfo2",
                                         "mallopt",
                                         "malloc_stats",
                                         "malloc_info",
                                         "__libc_malloc",
                                         "__libc_free",
                                         "__libc_calloc",
                                         "__libc_realloc",
                                         "__libc_reallocarray",
                                         "__libc_memalign",
                                         "__libc_valloc",
                                         "__libc_pvalloc",
                                         "_Znwm",
                                         "_Znam",
                                         "_ZnwmRKSt9nothrow_t",
                                         "_ZnamRKSt9nothrow_t",
                                         "_ZnwmSt11align_val_t",
                                         "_ZnamSt11align_val_t",
                                         "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                         "_ZnamSt11align_val_tRKSt9nothrow_t",
                                         "_ZdlPv",
                                         "_ZdaPv",
                                         "_ZdlPvm",
                                         "_ZdaPvm",
                                         "_ZdlPvRKSt9nothrow_t",
                                         "_ZdaPvRKSt9nothrow_t",
                                         "_ZdlPvSt11align_val_t",
                                         "_ZdaPvSt11align_val_t",
                                         "_ZdlPvmSt11align_val_t",
                                         "_ZdaPvmSt11align_val_t",
                                         "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                                         "_ZdaPvSt11align_val_tRKSt9nothrow_t"};
// Others that come with a malloc, because the compiler may have put its code into them.
constexpr Entry kProgramToo[] = {
    {"strdup", "strdup"},
    {"strndup", "strndup"},
    {"realpath", "realpath"},
    {"reallocf", "reallocf"},
    {"vfree", "free"},
    {"malloc_size", "malloc_usable_size"},
    {"malloc_good_size", "good_size"},
    {"reallocarr", "reallocarr"},
    {"__posix_memalign", "posix_memalign"},
    {"__libc_cfree", "free"},
};

bool skip_prefix(std::string_view* text, std::string_view prefix) noexcept {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

template <std::size_t n>
std::string_view target_in(const Entry (&table)[n], std::string_view name) noexcept {
  for (const Entry& e : table)
    if (e.name == name) return e.target;
  return {};
}

/// \return the list's own text, which lives on when the symbol table is gone; empty if `name` is not in it
template <std::size_t n>
std::string_view found_in(const std::string_view (&list)[n], std::string_view name) noexcept {
  for (const std::string_view s : list)
    if (matches(s, name)) return s;
  return {};
}

bool has_any(std::string_view name, std::initializer_list<std::string_view> words) noexcept {
  for (const std::string_view word : words)
    if (name.find(word) != name.npos) return true;
  return false;
}

/// A heap of its own is a promise that no other allocator keeps; asking for the default one is harmless.
bool is_about_blocks(std::string_view name) noexcept {
  if (has_any(name, {"heap_get_default", "heap_get_backing", "heap_main", "heap_collect", "deferred_free",
                     "heap_guarded"}))
    return false;
  return has_any(name, {"alloc", "free", "dup", "realpath", "heap", "expand", "owned", "page_retire", "new"});
}

SymbolMeaning entry(EmbeddedKind kind, std::string_view target, bool drops_first = false) noexcept {
  return {SymbolRole::kEntry, kind, target, drops_first};
}

SymbolMeaning meaning_in_mimalloc(std::string_view symbol) noexcept {
  std::string_view name = symbol;
  if (skip_prefix(&name, "mi_")) {
    if (const auto target = target_in(kMimallocHeap, name); !target.empty())
      return entry(EmbeddedKind::kMimalloc, target);
    if (const auto target = target_in(kMimallocOnly, name); !target.empty())
      return entry(EmbeddedKind::kMimalloc, target);
    std::string_view of_heap = name;
    if (skip_prefix(&of_heap, "heap_") || skip_prefix(&of_heap, "theap_"))
      if (const auto target = target_in(kMimallocHeap, of_heap); !target.empty())
        return entry(EmbeddedKind::kMimalloc, target, true);
  }
  if (is_about_blocks(symbol)) return {SymbolRole::kInternal, EmbeddedKind::kMimalloc};
  return {};
}

}  // namespace

std::string_view name_of(EmbeddedKind kind) noexcept {
  constexpr std::string_view kNames[] = {"mimalloc", "jemalloc", "its own malloc"};
  return kNames[static_cast<std::size_t>(kind)];
}

bool is_named_like_an_allocator(std::string_view symbol) noexcept {
  for (const std::string_view prefix :
       {"mi_", "_mi_", "__mi_", "je_", "_rjem_", "jemalloc_", "_Z13fallback_impl", "_ZL13fallback_impl",
        "_Z15fallbackNewImpl", "_ZL15fallbackNewImpl", "_Z7newImpl", "_ZL7newImpl", "_Z9handleOOM", "_ZL9handleOOM"})
    if (symbol.starts_with(prefix)) return true;
  return false;
}

SymbolMeaning meaning_of(std::string_view symbol) noexcept {
  const std::size_t dot = symbol.find('.');
  const bool has_suffix = dot != symbol.npos && dot != 0;
  const std::string_view name = has_suffix ? part_of(symbol, 0, dot) : symbol;
  const bool is_copy = has_suffix && has_any(symbol, {".part.", ".constprop.", ".isra.", ".cold"});
  SymbolMeaning found;
  if (name.starts_with("mi_") || name.starts_with("_mi_")) {
    found = meaning_in_mimalloc(name);
  } else {
    for (const std::string_view prefix : kJemallocPrefixes) {
      std::string_view rest = name;
      if (!skip_prefix(&rest, prefix)) continue;
      if (const auto target = target_in(kJemallocExtended, rest); !target.empty())
        found = entry(EmbeddedKind::kJemalloc, target);
      else if (const auto standard = found_in(kJemallocStandard, rest); !prefix.empty() && !standard.empty())
        found = entry(EmbeddedKind::kJemalloc, standard);
      skip_prefix(&rest, "je_");
      if (!found_in(kJemallocInternal, rest).empty())
        found = {SymbolRole::kInternal, EmbeddedKind::kJemalloc};
      if (found.role != SymbolRole::kOther) break;
    }
    if (found.role == SymbolRole::kOther) {
      if (const auto own = found_in(kProgram, name); !own.empty()) found = entry(EmbeddedKind::kProgram, own);
      else if (const auto target = target_in(kProgramToo, name); !target.empty())
        found = entry(EmbeddedKind::kProgram, target);
    }
  }
  if (is_copy && found.role == SymbolRole::kEntry) {
    // A part that the compiler split off: reached from the entry alone, unless that was inlined elsewhere.
    if (found.kind == EmbeddedKind::kProgram) return {};
    found = {SymbolRole::kInternal, found.kind};
  }
  return found;
}

}  // namespace mallard::inside
