// SPDX-License-Identifier: Apache-2.0
// Lost blocks, read from a report.
#include "cli/demangled.hpp"
#include "cli/report/json_members.hpp"
#include "cli/report/snapshot_of.hpp"

namespace mallard::cli {

void SnapshotOf::read_lost(const Json& j) {
  const Json& lost = member(j, "lost");
  if (!lost.is_object() || lost.empty()) return;
  std::vector<report::LostGroup> groups;
  for (const Json& g : entries(lost, "groups"))
    groups.push_back({number(g, "block_bytes"), number(g, "blocks"), number(g, "bytes"),
                      number(g, "first_blocks"), file_.storage.text(printable(demangled(text(g, "kind"))))});
  std::vector<report::LostSite> sites;
  for (const Json& site : entries(lost, "sites"))
    sites.push_back({static_cast<std::uint32_t>(number(site, "site")), estimate(site, "bytes"),
                     estimate(site, "blocks"), number(site, "aged_samples"), number(site, "youngest_ns"),
                     number(site, "oldest_ns")});
  const std::string_view by = text(lost, "sites_by");
  s_.lost = {true,
             flag(lost, "done"),
             text_or_null(lost, "why_not"),
             number(lost, "blocks"),
             number(lost, "bytes"),
             number(lost, "resident_bytes"),
             number(lost, "first_blocks"),
             number(lost, "first_bytes"),
             number(lost, "examined_blocks"),
             number(lost, "examined_bytes"),
             number(lost, "unsure_bytes"),
             number(lost, "swapped_bytes"),
             number(lost, "between_ns"),
             number(lost, "duration_ns"),
             number(lost, "own_bytes"),
             small_number(lost, "looks"),
             small_number(lost, "threads"),
             small_number(lost, "threads_read"),
             text_or_null(lost, "registers_why"),
             number(lost, "longest_stop_ns"),
             file_.storage.list(std::move(groups)),
             static_cast<std::uint32_t>(number(lost, "other_groups")),
             text(lost, "runtime"),
             !by.empty(),
             by == "sample",
             file_.storage.list(std::move(sites)),
             static_cast<std::uint32_t>(number(lost, "other_sites")),
             number(lost, "unbooked_blocks"),
             number(lost, "unbooked_bytes")};
}

}  // namespace mallard::cli
