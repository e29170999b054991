// SPDX-License-Identifier: Apache-2.0
// Every mapping of the process with its owner. Context: reporter.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"
#include "elf/modules.hpp"
#include "report/facts/glibc_threads.hpp"
#include "report/facts/residency.hpp"
#include "report/facts/smaps.hpp"
#include "report/model/model.hpp"
#include "report/model/served.hpp"

namespace mallard::report {

enum class Owner : std::uint8_t {
  kHeap,          ///< mapped by the backend that serves the process
  kHeapMetadata,  ///< the backend's own data segment
  kOwn,           ///< mallard's tables, its report, its thread's stack, its data segment
  kAnonymous,     ///< anonymous memory of somebody else; `name` tells whose
  kStack,         ///< a thread's stack with its TLS, or the main thread's
  kFile,          ///< a mapped file or object, its private copies and its .bss included; `name` is the path
  kShared,        ///< shared anonymous memory, memfd, /dev/shm, System V
  kKernel,        ///< [vvar], [vdso], hugetlbfs pages: never counted in RSS
};

/// Part of a mapping that has one owner, or a mapping. Page-aligned; regions do not overlap.
struct Region {
  std::uintptr_t begin, end;
  Owner owner;
  bool readable, writable, shared;
  bool is_brk;             ///< kAnonymous: of the program break
  bool is_arena;           ///< of a heap of one of glibc's arenas, as far as that can be written
  bool private_anonymous;  ///< no page of it is of a file or shared memory
  /// kFile: path. kAnonymous: the module that mapped it, "" if nobody saw. kStack: "main", or
  /// what its thread is called, "" if that is not known.
  std::string_view name;
  /// kAnonymous: the allocator that the mapping module has inside, as the field calls it ("mimalloc"); or
  /// empty.
  std::string_view allocator;
  std::uintptr_t mapper;  ///< return address of the call of mmap, in the module `name`; 0 = nobody saw
  std::uint64_t lazily_freed_bytes;     ///< see find_lazily_freed()
  std::uint64_t device, inode, offset;  ///< of what is mapped, at `begin`; inode 0 = no file
  Sharing in_files, in_no_file;  ///< pages of files or of shared memory, and the others; see find_sharing()
  std::uint64_t dirty_bytes;     ///< of pages of files; see find_page_use()
};

/// Bytes of a region that are in memory, how many of them are on huge pages, and how many are in no file.
struct InMemory {
  std::uint64_t bytes, huge, anonymous;
};

struct Regions {
  std::span<Region> all;            ///< ascending
  elf::Modules modules;             ///< the objects that were loaded then
  std::uint64_t unlogged_mappings;  ///< mappings that could not be noted: the log was busy or full
  ThreadLayout threads;
};

/// Reads the mappings and the mapping log. \return false if /proc is not readable or memory is out
/// \context reporter, exit
bool read_regions(Arena& arena, const ProcessMemory& process, const Served& served, Regions* out) noexcept;

/// Fills in Region::allocator. Reads whole files at its first call, and so comes after what must be quick.
void recognise_allocators(Arena& arena, Regions* regions) noexcept;

/// Fills in Region::lazily_freed_bytes: pages given back by MADV_FREE that the kernel has not taken yet,
/// which read as present. The kernel tells it by mapping; a mapping with several owners is divided by
/// resident bytes.
void find_lazily_freed(std::span<const SmapsEntry> smaps, const Residency& residency,
                       Regions* regions) noexcept;

/// Measures what is in memory of each region, in the order of `regions`. \return nullptr if memory is out
const InMemory* measure_regions(Arena& arena, std::span<const Region> regions,
                                std::span<const ResidentRun> runs) noexcept;

}  // namespace mallard::report
