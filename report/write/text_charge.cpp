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
}

}  // namespace mallard::report
