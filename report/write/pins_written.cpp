// SPDX-License-Identifier: Apache-2.0
// Who pins what: what call sites hold alone and together, as text and as JSON.
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

constexpr int kMostLines = 4;
/// Smaller sets are left to the JSON report.
constexpr double kLeastShare = 0.02;

/// "sites 4, 7 and 12"
void add_sites(Cell& to, const PinSet& set) noexcept {
  to.add("sites ");
  for (int i = 0; i < set.count; ++i) {
    if (i > 0) to.add(i + 1 == set.count ? " and " : ", ");
    to.add_unsigned(set.sites[i]);
  }
}

void write_set(const PinSet& set, Sink& to) noexcept {
  Cell cell;
  cell.add("  ");
  add_bytes(cell, set.bytes);
  cell.add(" lie on pages that ");
  add_sites(cell, set);
  cell.add(" pin together: ").add(set.count == 2 ? "both" : "all").add(" must move.\n");
  to.add(cell.view());
}

}  // namespace

void add_way_to_exact(const Snapshot& s, Sink& to) noexcept {
  if (s.recording.is_attached) add_parts(to, "mallard attach --mode exact ", s.process.pid);
  else to.add("ALLOC_MODE=exact");
}

void write_pins(const Snapshot& s, Sink& to) noexcept {
  const Pins& pins = s.ledger.pins;
  if (!s.recording.exact.on) {
    to.add("  A share is no promise: ");
    add_way_to_exact(s, to);
    return void(to.add(s.recording.is_attached ? " tells what goes\n  back if a site leaves.\n"
                                               : " tells what goes back if a site leaves.\n"));
  }
  if (!pins.known) return;
  const double least = kLeastShare * static_cast<double>(s.ledger.pinned_bytes);
  add_parts(to, "  Alone: goes back if one site's blocks leave; of all sites ", as_bytes(pins.alone), ".\n");
  if (pins.joint < least) return;
  double rest = pins.joint;
  int lines = 0;
  for (const PinSet& set : pins.sets) {
    if (set.bytes < least || lines == kMostLines) break;
    write_set(set, to);
    rest -= set.bytes;
    ++lines;
  }
  if (rest >= least)
    add_parts(to, "  ", as_bytes(rest), lines > 0 ? " more" : "",
              " lie on pages that other sets of sites pin, ", as_bytes(pins.crowded),
              " of\n  them more than ", kMaxPinSites, " sites.\n");
}

void write_pins_json(const Ledger& ledger, Json& json) noexcept {
  const Pins& p = ledger.pins;
  json.key("pinned").open('{').key("known").flag(p.known);
  json.key("alone_bytes").number(whole(p.alone)).key("alone_hole_bytes").number(whole(p.alone_holes));
  json.key("joint_bytes").number(whole(p.joint)).key("joint_hole_bytes").number(whole(p.joint_holes));
  json.key("unknown_bytes").number(whole(p.others)).key("crowded_bytes").number(whole(p.crowded));
  json.key("unlisted_bytes").number(whole(p.unlisted)).key("sets").open('[');
  for (const PinSet& set : p.sets) {
    json.open('{').key("bytes").number(whole(set.bytes)).key("hole_bytes").number(whole(set.holes));
    json.key("together_bytes").number(whole(set.together)).key("sites").open('[');
    for (int i = 0; i < set.count; ++i) json.number(set.sites[i]);
    json.close(']').close('}');
  }
  json.close(']').close('}').line();
}

}  // namespace mallard::report
