// SPDX-License-Identifier: Apache-2.0
#include "symbols/plumbing.hpp"

#include <algorithm>
#include <initializer_list>
#include <span>

#include "base/text.hpp"
#include "symbols/demangle.hpp"

namespace mallard::symbols {
namespace {

/// Words that only names of allocation functions have in them, in C; in C++ such a name ends with one.
constexpr std::string_view kAllocationWords[] = {"malloc",  "Malloc",   "calloc",   "Calloc", "realloc",
                                                 "Realloc", "memalign", "Memalign", "strdup", "strndup"};

/// Allocation functions that these words do not tell, most used libraries first.
constexpr std::string_view kAllocationNames[] = {
    "operator new", "operator new[]", "aligned_alloc", "valloc", "pvalloc", "zalloc", "xalloc", "xzalloc",
    "asprintf", "vasprintf", "mi_new", "mi_new_n", "tc_new", "tc_newarray",
    // glib
    "g_slice_alloc", "g_slice_alloc0", "g_slice_copy", "g_memdup", "g_memdup2",
    // CPython: raw memory, the small-object allocator, objects of no type yet
    "_PyObject_GC_Alloc", "_PyObject_GC_New", "_PyObject_GC_NewVar", "_PyObject_New", "_PyObject_NewVar",
    "PyType_GenericAlloc", "_PyType_AllocNoTrack", "_PyObject_ArenaMmap", "_PyMem_ArenaAlloc", "new_arena",
    "allocate_from_new_pool", "gc_alloc",
    // These are of nginx, APR, PostgreSQL and OpenSSL.
    "ngx_alloc", "ngx_palloc", "ngx_pnalloc", "ngx_palloc_small", "ngx_palloc_block", "ngx_palloc_large",
    "apr_palloc", "palloc", "palloc0", "palloc_extended", "MemoryContextAlloc", "MemoryContextAllocZero",
    "MemoryContextAllocZeroAligned", "MemoryContextAllocExtended", "MemoryContextAllocHuge", "AllocSetAlloc",
    "CRYPTO_zalloc"};

constexpr std::string_view kAllocationBeginnings[] = {
    "__rust_", "__rdl_", "__rg_", "__rustc::__r", "_cgo_", "runtime.cgocall", "runtime.asmcgocall"};

constexpr std::string_view kRoots[] = {"_start",
                                       "start_thread",
                                       "clone",
                                       "clone3",
                                       "__clone",
                                       "__clone3",
                                       "thread_start",
                                       "__libc_start_call_main",
                                       "execute_native_thread_routine"};

/// Functions of the languages' libraries that run a callable: where its code is inlined into one of them, no
/// other name is left of it than its own, among the template arguments.
constexpr std::string_view kRunners[] = {
    "_M_invoke",    "_S_invoke",  "__invoke",     "__invoke_impl",
    "__invoke_r",   "invoke",     "_M_run",       "operator()",
    "for_each",     "for_each_n", "transform",    "generate",
    "generate_n",   "accumulate", "sort",         "__introsort_loop",
    "stable_sort",  "call_once",  "visit",        "__visit_invoke",
    "__do_visit",   "apply",      "__apply_impl", "__rust_begin_short_backtrace",
    "call_mut",     "call",       "do_call",      "try",
    "catch_unwind", "fold",       "try_fold",     "__thread_proxy"};

constexpr std::string_view kLambdas[] = {"{lambda(", "{closure#", "{{closure}}", "'lambda", "::$_"};

bool is_one_of(std::string_view word, std::span<const std::string_view> words) noexcept {
  return std::find(words.begin(), words.end(), word) != words.end();
}
bool begins_with_one_of(std::string_view word, std::span<const std::string_view> words) noexcept {
  return std::any_of(words.begin(), words.end(), [word](std::string_view w) { return word.starts_with(w); });
}
bool has_one_of(std::string_view word, std::span<const std::string_view> words) noexcept {
  return std::any_of(words.begin(), words.end(),
                     [word](std::string_view w) { return word.find(w) != kNowhere; });
}
bool ends_with_one_of(std::string_view word, std::span<const std::string_view> words) noexcept {
  return std::any_of(words.begin(), words.end(), [word](std::string_view w) { return word.ends_with(w); });
}

/// The function's own name: the last part of its path, without template arguments.
std::string_view own_name_of(std::string_view path) noexcept {
  std::size_t at = last_component(path);
  if (at > 2 && path[at == path.size() ? 0 : at] == '<') {  // Rust: "call_once::<closure>"
    path = part_of(path, 0, at - 2);
    at = last_component(path);
  }
  const std::string_view own = part_of(path, at);
  if (own.starts_with("operator")) return own;
  return part_of(own, 0, own.find('<'));
}

/// A path of Rust's or C++'s libraries, by its beginning.
bool is_in_library(std::string_view path, bool is_rust) noexcept {
  constexpr std::string_view kBoth[] = {"std::"};
  constexpr std::string_view kCpp[] = {"__gnu_cxx::", "__gnu_debug::"};
  constexpr std::string_view kRust[] = {"alloc::", "core::", "hashbrown::"};
  return begins_with_one_of(path, kBoth) ||
         begins_with_one_of(path, is_rust ? std::span<const std::string_view>(kRust)
                                          : std::span<const std::string_view>(kCpp));
}

/// "<Type as Trait>::function" of Rust, and "<Type>::function": the type's crate, or of a type that belongs
/// to no crate (u8, [T], &str) the trait's.
Plumbing plumbing_of_rust_impl(std::string_view path) noexcept {
  if (path.find("GlobalAlloc>::") != kNowhere) return Plumbing::kAllocation;
  std::string_view type = part_of(path, 1);
  const std::size_t as = type.find(" as ");
  const std::string_view trait = as == kNowhere ? std::string_view() : part_of(type, as + 4);
  for (std::string_view beginning :
       {std::string_view("impl "), std::string_view("&mut "), std::string_view("dyn ")})
    if (type.starts_with(beginning)) type.remove_prefix(beginning.size());
  type = part_of(type, std::min(type.find_first_not_of("&*[(<"), type.size()));
  const std::string_view name = part_of(type, 0, type.find_first_of(" >]),<"));
  if (name.find("::") != kNowhere) return is_in_library(name, true) ? Plumbing::kLibrary : Plumbing::kNone;
  return trait.empty() || is_in_library(trait, true) ? Plumbing::kLibrary : Plumbing::kNone;
}

bool matches(std::string_view pattern, std::string_view text) noexcept {
  std::size_t p = 0, t = 0, star = kNowhere, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != kNowhere) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return part_of(pattern, p).find_first_not_of('*') == kNowhere;
}

}  // namespace

Plumbing plumbing_of(std::string_view function) noexcept {
  if (function.empty()) return Plumbing::kNone;
  const std::string_view path = path_of(function);
  const std::string_view own = own_name_of(path);
  // C and Rust names have no parameters.
  const bool is_plain = path.size() == function.size();
  if (is_one_of(path, kRoots) || path.starts_with("__libc_start_main")) return Plumbing::kRoot;
  if (is_one_of(path, kAllocationNames) || begins_with_one_of(path, kAllocationBeginnings))
    return Plumbing::kAllocation;
  if (is_plain && path.starts_with('<')) return plumbing_of_rust_impl(path);
  if (is_in_library(path, is_plain)) {
    const bool runs_a_lambda = is_one_of(own, kRunners) && has_one_of(path, kLambdas);
    return runs_a_lambda ? Plumbing::kNone : Plumbing::kLibrary;
  }
  const bool allocates = is_plain && path.find("::") == kNowhere ? has_one_of(own, kAllocationWords)
                                                                 : ends_with_one_of(own, kAllocationWords);
  return allocates ? Plumbing::kAllocation : Plumbing::kNone;
}

bool is_runtime_library(std::string_view file) noexcept {
  constexpr std::string_view kBeginnings[] = {
      "libc.so",       "libc-2.",  "libstdc++.so", "libc++.so",    "libc++abi.so", "libgcc_s.so",
      "ld-linux",      "ld-2.",    "ld-musl",      "libc.musl",    "libm.so",      "libpthread.so",
      "libpthread-2.", "libdl.so", "librt.so",     "libmallard.so"};
  return begins_with_one_of(file, kBeginnings);
}

bool is_library_source(std::string_view path) noexcept {
  constexpr std::string_view kFolders[] = {"/include/c++/", "/library/std/src/", "/library/alloc/src/",
                                           "/library/core/src/"};
  return has_one_of(path, kFolders);
}

bool is_listed(std::string_view names, std::string_view function) noexcept {
  if (names.empty() || function.empty()) return false;
  const std::string_view path = path_of(function);
  while (!names.empty()) {
    const std::size_t end = std::min(names.find_first_of(", "), names.size());
    const std::string_view name = part_of(names, 0, end);
    if (!name.empty() && matches(name, path)) return true;
    names = part_of(names, end + 1);
  }
  return false;
}

}  // namespace mallard::symbols
