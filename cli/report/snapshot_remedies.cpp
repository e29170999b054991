// SPDX-License-Identifier: Apache-2.0
// What can be done about free memory, from JSON.
#include "cli/report/json_members.hpp"
#include "cli/report/snapshot_of.hpp"

namespace mallard::cli {

void SnapshotOf::read_free_memory(const Json& j) {
  s_.ledger.free_memory = {number(j, "main_top_bytes"),  number(j, "top_excess_bytes"),
                           number(j, "in_arenas_bytes"), number(j, "large_free_bytes"),
                           number(j, "cached_bytes"),    number(j, "cached_page_bytes"),
                           number(j, "kept_page_bytes"), number(j, "uncollected_bytes")};
}

/// Those of a later version are left out.
void SnapshotOf::read_remedies(const Json& j) {
  std::vector<report::Remedy> remedies;
  for (const Json& r : entries(j, "remedies")) {
    const report::RemedyFacts* known = report::find_remedy(text(r, "name"));
    if (!known) continue;
    remedies.push_back({static_cast<report::RemedyKind>(known - report::kRemedies), flag(r, "predicted"),
                        estimate(r, "saving_bytes"), text(r, "line"), text(r, "why"),
                        static_cast<std::uint32_t>(number(r, "site"))});
  }
  s_.remedies = file_.storage.list(std::move(remedies));
}

}  // namespace mallard::cli
