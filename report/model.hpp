// SPDX-License-Identifier: Apache-2.0
// A report as plain data: taken once (snapshot.cpp), then written as text and as JSON from the same values.
// Sizes are bytes, times nanoseconds. Everything points into the report's arena.
#pragma once

#include <cstdint>
#include <string_view>

#include "backends/backend.hpp"
#include "record/record.hpp"
#include "report/estimate.hpp"

namespace mallard::report {

inline constexpr int kSchemaVersion = 1;
inline constexpr const char* kVersion = MALLARD_VERSION;

enum class Reason : std::uint8_t { kSignal, kExit };

struct ProcessFacts {
  int pid, parent_pid, threads;
  std::string_view executable;    ///< path; "(unknown)" if the kernel does not tell
  std::string_view name;          ///< last part of the path under which it was started
  std::string_view command_line;  ///< arguments joined by spaces, cut at 512 bytes
  std::uint64_t uptime_ns;        ///< since the process was made; 0 = unknown
  std::uint64_t taken_at_ns;      ///< CLOCK_REALTIME
};

/// The kernel's view, from smaps_rollup. `known` is false where /proc is not readable.
struct Rss {
  bool known;
  std::uint64_t total, anonymous, file, shared_memory, lazily_freed, huge_pages, swapped, locked;
};

struct Allocator {
  const backends::Backend* backend;
  bool bypassed, stepped_aside;
  std::string_view bypass_owner;
  std::string_view version;
  backends::Statistic statistics[backends::kMaxStatistics];
  int statistic_count;
};

struct Recording {
  bool on;
  std::uint64_t sample_bytes, since_ns;
  record::Counters counters;
  record::StackStats stacks;
  std::uint32_t live_samples, sites;
  std::uint64_t skipped_live;  ///< live samples that came while the snapshot was taken
};

/// A return address, symbolized as far as the process itself can. One per address, shared by the stacks.
struct Frame {
  std::uintptr_t pc;
  std::string_view module;       ///< path of the object; empty = unknown (JIT, unloaded)
  std::uint64_t module_address;  ///< address in the ELF file's terms
  std::string_view function;     ///< demangled; empty = unknown
  std::uint64_t function_offset;
};

struct SiteRow {
  std::uint32_t id;
  const Frame* const* frames;  ///< leaf first
  int depth;
  Estimate live_bytes, live_count, allocated_bytes, allocated_count;
  std::uint64_t samples, live_samples, largest_bytes;
  std::uint64_t oldest_ns, youngest_ns, mean_age_ns;  ///< ages of live samples; mean is by weight
};

struct ModuleRow {
  std::string_view path, build_id;
  std::uintptr_t begin, end;
  std::uint64_t load_bias;
};

struct Snapshot {
  int number;
  Reason reason;
  ProcessFacts process;
  Rss rss;
  Allocator allocator;
  Recording recording;
  const SiteRow* sites;  ///< by live bytes, largest first
  std::uint32_t site_count;
  const std::uint32_t* by_allocated;  ///< indices into sites, by allocated bytes
  const ModuleRow* modules;
  int module_count;
  Estimate live_bytes, live_count, allocated_bytes, allocated_count;
  Estimate inherited_live_bytes;      ///< of live_bytes: allocated by the parent before the fork
  bool inherited;                     ///< the process was forked off a recorded one
  std::uint64_t heap_resident_bytes;  ///< anonymous - lazily freed - mallard's own
  std::uint64_t own_bytes;            ///< mallard's own memory: books and this report
  Estimate fragmentation_ratio;       ///< heap resident / live requested; value 0 = unknown
  std::uint64_t duration_ns;          ///< how long taking the snapshot took
};

}  // namespace mallard::report
