// SPDX-License-Identifier: Apache-2.0
// What the process costs whoever pays for its memory: the lines at the top of a report.
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

std::string_view meaning_of(const Charge& c) noexcept {
  if (!c.locked_files_known) return "without what mlock keeps of files, which nobody looked for";
  if (!c.lazily_freed_known) return "at most: nobody looked for lazily freed pages";
  return "what a container is charged for and cannot shed";
}

void not_known(Sink& to, std::string_view name, const char* why_not) noexcept {
  label(to, name);
  to.add("not known: ").add(view_of(why_not)).add('\n');
}

/// What the cgroup is charged beside what this process has in memory.
void write_cgroup(const CgroupCharge& c, Sink& to) noexcept {
  if (!c.known) return;
  Cell cell;
  add_bytes(cell, static_cast<double>(c.charged));
  label(to, "charged to its cgroup");
  add_right(to, cell.view(), 12);
  to.add(c.version == 2 ? "   memory.current" : "   memory.usage_in_bytes");
  if (c.has_limit) add_parts(to, " of ", as_bytes(c.limit));
  if (c.processes > 1)
    add_parts(to, ", with ", as_grouped(c.processes - 1), c.processes == 2 ? " other process" : " other processes");
  else to.add(c.is_alone ? ", which it has alone" : ", with the cgroups below it");
  to.add('\n');
  if (!c.is_alone) return;
  byte_line(to, "  anonymous", c.anonymous, "");
  byte_line(to, "  page cache", c.page_cache, "of files that were read or written here, mapped or not");
  byte_line(to, "  shared memory", c.shared_memory, "tmpfs included");
  byte_line(to, "  page tables", c.page_tables, "");
  if (c.version == 2) byte_line(to, "  kernel stacks", c.kernel_stacks, "");
  byte_line(to, "  other of the kernel", c.other_kernel,
            c.version == 2 ? "open files, sockets" : "open files, sockets, kernel stacks");
  const std::uint64_t sum = c.anonymous + c.page_cache + c.shared_memory + c.page_tables + c.kernel_stacks +
                            c.other_kernel;
  if (c.charged > sum)
    byte_line(to, "  charged ahead", c.charged - sum, "processors take pages in batches");
}

}  // namespace

void write_charge(const Charge& c, Sink& to) noexcept {
  if (!c.known) return;
  byte_line(to, "memory that counts", c.counts, meaning_of(c));
  const Sharing& sharing = c.sharing;
  if (sharing.only_ours + sharing.with_others > 0) {
    byte_line(to, "only ours", sharing.only_ours, "resident, and mapped by no other process");
    byte_line(to, "with others", sharing.with_others, "resident, and mapped by others, too");
  }
  if (c.sharing_why_not)
    not_known(to, sharing.only_ours + sharing.with_others > 0 ? "the rest" : "only ours", c.sharing_why_not);
  if (c.proportional_why_not) not_known(to, "proportional (PSS)", c.proportional_why_not);
  else if (c.proportional > 0)
    byte_line(to, "proportional (PSS)", c.proportional, "a page of n processes counts 1/n");
  write_cgroup(c.cgroup, to);
}

}  // namespace mallard::report
