// SPDX-License-Identifier: Apache-2.0
// What the process's memory cgroup is charged, as the kernel counts it.
#pragma once

#include <cstdint>
#include <string_view>

namespace mallard::report {

struct CgroupCharge {
  bool known;
  int version;                ///< of the hierarchy that memory is in: 1 or 2
  std::string_view path;      ///< in it
  std::uint32_t processes;    ///< in the cgroup itself
  std::uint64_t charged;      ///< memory.current, or memory.usage_in_bytes: with the cgroups below it
  bool has_limit;
  std::uint64_t limit;

  /// The process is alone in the cgroup, and nothing lies below: the parts are there.
  bool is_alone;
  std::uint64_t anonymous;      ///< also of processes that have ended and left it in swap cache or tmpfs
  std::uint64_t page_cache;     ///< of files that were read or written here, mapped or not
  std::uint64_t shared_memory;  ///< and files in a tmpfs
  std::uint64_t page_tables, kernel_stacks;
  std::uint64_t other_kernel;  ///< slabs: of files that are open or were, of sockets; and their buffers
};

}  // namespace mallard::report
