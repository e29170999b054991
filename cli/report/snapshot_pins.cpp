// SPDX-License-Identifier: Apache-2.0
#include <initializer_list>
#include <utility>

#include "cli/report/json_members.hpp"
#include "cli/report/snapshot_of.hpp"

namespace mallard::cli {

void SnapshotOf::read_pins(const Json& j) {
  report::Pins& pins = s_.ledger.pins;
  pins.known = flag(j, "known");
  for (const auto& [name, field] : {std::pair("alone_bytes", &report::Pins::alone),
                                    {"alone_hole_bytes", &report::Pins::alone_holes},
                                    {"joint_bytes", &report::Pins::joint},
                                    {"joint_hole_bytes", &report::Pins::joint_holes},
                                    {"unknown_bytes", &report::Pins::others},
                                    {"crowded_bytes", &report::Pins::crowded},
                                    {"unlisted_bytes", &report::Pins::unlisted}})
    pins.*field = decimal(j, name);
  std::vector<report::PinSet> sets;
  for (const Json& set : entries(j, "sets")) {
    report::PinSet& to = sets.emplace_back();
    to.bytes = decimal(set, "bytes");
    to.holes = decimal(set, "hole_bytes");
    to.together = decimal(set, "together_bytes");
    for (const Json& site : entries(set, "sites"))
      if (site.is_number_unsigned() && to.count < report::kMaxPinSites)
        to.sites[to.count++] = static_cast<std::uint32_t>(site.get<std::uint64_t>());
  }
  pins.sets = file_.storage.list(std::move(sets));
}

}  // namespace mallard::cli
