// SPDX-License-Identifier: Apache-2.0
// What the process of a report costs whoever pays for its memory, its cgroup included.
#include "cli/report/json_members.hpp"
#include "cli/report/snapshot_of.hpp"
#include "report/model/charge.hpp"

namespace mallard::cli {

void SnapshotOf::read_charge(const Json& j) {
  const Json& memory = member(j, "memory");
  report::Charge& c = s_.charge;
  if (memory.empty()) {  // an earlier version's report
    c = report::charge_of(s_.rss);
    c.proportional_why_not = c.sharing_why_not = nullptr;  // and no figure: nothing is said of them
    c.proportional = 0;
    return;
  }
  c.known = flag(memory, "known");
  c.counts = number(memory, "counts_bytes");
  c.lazily_freed_known = flag(memory, "lazily_freed_known");
  c.locked_files = number(memory, "locked_file_bytes");
  c.locked_files_known = member(memory, "locked_file_bytes").is_number();
  c.proportional = number(memory, "proportional_bytes");
  c.proportional_why_not = text_or_null(memory, "proportional_why_not");
  c.sharing = sharing(memory);
  c.sharing_why_not = text_or_null(memory, "sharing_why_not");
  const Json& cgroup = member(memory, "cgroup");
  if (!cgroup.is_object() || cgroup.empty()) return;
  c.cgroup = {true,
              static_cast<int>(number(cgroup, "version")),
              text(cgroup, "path"),
              static_cast<std::uint32_t>(number(cgroup, "processes")),
              number(cgroup, "charged_bytes"),
              member(cgroup, "limit_bytes").is_number(),
              number(cgroup, "limit_bytes"),
              member(cgroup, "anonymous_bytes").is_number(),
              number(cgroup, "anonymous_bytes"),
              number(cgroup, "page_cache_bytes"),
              number(cgroup, "shared_memory_bytes"),
              number(cgroup, "page_table_bytes"),
              number(cgroup, "kernel_stack_bytes"),
              number(cgroup, "other_kernel_bytes")};
}

}  // namespace mallard::cli
