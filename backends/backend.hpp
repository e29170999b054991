// SPDX-License-Identifier: Apache-2.0
// What mallard needs of an allocator, and what it can tell about itself. One backend serves the whole
// process; it is chosen before main and never changes.
#pragma once

#include <link.h>
#include <malloc.h>
#include <stdio.h>

#include <cstddef>
#include <cstdint>

#include "heaps/census.hpp"
#include "heaps/jemalloc.hpp"
#include "base/older.hpp"
#include "base/text.hpp"

namespace mallard::backends {

/// The calls that every backend must answer. All pointers are non-null once a backend is chosen.
/// `memalign` gets a power of two >= 16; everything that is aligned goes through it.
struct Functions {
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  void* (*calloc)(std::size_t, std::size_t);
  void* (*realloc)(void*, std::size_t);  ///< never called with size 0
  void* (*memalign)(std::size_t, std::size_t);
  std::size_t (*usable_size)(void*);
};

/// The statistics interface of malloc.h where the backend has it; nullptr where not.
struct Extras {
  int (*trim)(std::size_t pad_bytes);
  void (*print_stats)();
  struct mallinfo (*mallinfo)();
  struct mallinfo2 (*mallinfo2)();
  int (*malloc_info)(int options, FILE* to);
};

/// One figure that an allocator reports about itself.
struct Statistic {
  const char* name;  ///< the field's word: allocated, active, metadata, resident, mapped, unmapped, ...
  /// Below zero where the allocator's own counter is, whatever type it has: one that was lowered too often.
  std::int64_t bytes;

  /// No process has more address space than 2^56 bytes.
  bool is_possible() const noexcept { return bytes >= 0 && bytes < std::int64_t{1} << 56; }
};
inline constexpr int kMaxStatistics = 8;

/// How an allocator is asked to give back every page that it could: the proof of what a report calls
/// retained. It may hold the host up, so only the user's wish starts it.
struct Purge {
  bool (*run)() = nullptr;  ///< false: the allocator refused; nullptr = it cannot be asked \context reporter
  const char* call = nullptr;    ///< what run() calls, as the allocator's documents name it
  const char* leaves = nullptr;  ///< free memory that it does not reach, one clause
  const char* holds = nullptr;   ///< whom it makes wait, one clause
};

struct Backend {
  char name[32] = "";     ///< system, jemalloc, mimalloc, tcmalloc, or the file name of an unknown one
  char version[64] = "";  ///< as the allocator itself says it; "unknown" if it does not
  char conf_variable[32] = "";  ///< the variable that configures it, where builds differ; empty = the usual one
  char path[512] = "";    ///< the object that holds it; empty = inside libmallard.so
  const link_map* object = nullptr;  ///< the same, loaded; nullptr = inside libmallard.so
  Functions functions{};
  Extras extras{};
  /// Writes the allocator's own figures. \return how many \context reporter
  int (*statistics)(Statistic* to) = nullptr;
  /// Tells which memory live blocks pin; nullptr = this allocator cannot be asked. Takes no lock that the host
  /// may wait for long. \context reporter
  heaps::CensusResult (*census)(const heaps::CensusRequest& request) = nullptr;
  Purge purge{};
  /// The version, from an allocator that must not be asked before it is in use; nullptr = `version` has it.
  /// \context reporter
  const char* (*ask_version)() = nullptr;
  /// Looked at from outside: linked statically, or with musl, so that libmallard.so cannot be loaded into it.
  bool takes_no_preload = false;
  bool misaligns = false;  ///< known to return misaligned blocks; repaired
  /// Its calloc writes to all of a large block, although memory fresh from the kernel is zero.
  bool calloc_writes = false;
};

/// glibc's malloc. \return false if libc cannot be found in the link map
bool use_system(Backend* out) noexcept;
/// The jemalloc linked into libmallard.so. \return false in a build without it
bool use_jemalloc(Backend* out) noexcept;
/// The allocator that a loaded object defines: all functions from that one object.
/// \return false, with a reason in `why`, if it lacks one that every backend must have
bool use_object(const link_map* object, Backend* out, TextBuffer& why) noexcept;
/// Where `owner`, in front of us in the link map, owns malloc: each function from whoever would serve it if
/// `own` were not there.
/// \param past  what does the work of a function where another stands in its place; or the function itself
/// \return false if malloc and free cannot be found so
bool use_natural_owners(const link_map* owner, const link_map* own, void* (*past)(void*) noexcept,
                        Backend* out) noexcept;
/// Functions of an allocator inside the executable; nullptr where it lacks one.
struct InsideFunctions {
  void* (*malloc)(std::size_t);
  void (*free)(void*);
  std::size_t (*usable_size)(void*);
  heaps::Mallctl* mallctl;
};
/// Describes one that is observed, for reports: `out->functions` stay as they are.
/// \param name    "mimalloc", "jemalloc", or of one that has no census
/// \param prefix  of its functions' names
void use_inside(std::string_view name, std::string_view prefix, const InsideFunctions& functions, const char* (*ask_version)(),
                Backend* out) noexcept;
/// Loads a shared object by path or soname and uses the allocator that it defines.
/// \context init: runs constructors; calls malloc (the boot arena serves it)
bool use_file(const char* path, Backend* out, TextBuffer& why, TextBuffer& hint) noexcept;
/// Finds a mimalloc: `major` 2 or 3, or 0 for the newest.
bool use_mimalloc(int major, const char* own_path, Backend* out, TextBuffer& why, TextBuffer& hint) noexcept;

void set_text(char* to, std::size_t bytes, std::string_view text) noexcept;

}  // namespace mallard::backends
