// SPDX-License-Identifier: Apache-2.0
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

template <class Write>
void write_cells(Json& json, std::string_view name, std::span<const HeapCell> cells, Write write) noexcept {
  json.key(name).open('[');
  for (const HeapCell& cell : cells) write(cell);
  json.close(']');
}

}  // namespace

void write_heap_map_json(const Ledger& ledger, Json& json) noexcept {
  const HeapCells& map = ledger.heap_map;
  json.key("heap_map");
  if (map.cells.empty()) return void(json.null().line());
  json.open('{').key("cell_bytes").number(map.cell_bytes).key("ranges").open('[').line();
  for (const HeapStretch& s : map.stretches) {
    const std::span<const HeapCell> cells = map.cells.subspan(s.first, s.count);
    const auto known = [&](const HeapCell& c) { return ledger.divided && map.divided && c.known(); };
    json.open('{').key("begin").hex(s.begin);
    write_cells(json, "resident_bytes", cells, [&](const HeapCell& c) { json.number(c.resident); });
    write_cells(json, "live_bytes", cells,
                [&](const HeapCell& c) { known(c) ? json.number(whole(c.live)) : json.null(); });
    write_cells(json, "hole_bytes", cells,
                [&](const HeapCell& c) { known(c) ? json.number(whole(c.holes)) : json.null(); });
    write_cells(json, "site", cells, [&](const HeapCell& c) {
      const HeapCell::Claim claim = c.pinned_by();
      claim.bytes > 0 ? json.number(claim.site) : json.null();
    });
    json.close('}').line();
  }
  json.close(']').close('}').line();
}

}  // namespace mallard::report
