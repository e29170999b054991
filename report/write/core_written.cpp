// SPDX-License-Identifier: Apache-2.0
// What a report of a core file cannot tell, as text and as JSON.
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {

void write_core(const CoreFacts& core, Sink& to) noexcept {
  if (core.path.empty()) return;
  to.add('\n');
  labelled_line(to, "core file", Printable{core.path});
  label(to, "sizes mean");
  add_wrapped(
      to,
      "in the core, pages of zeros left out. It does not tell what was in memory or swapped out, nor who "
      "shared it.",
      kLabelColumns);
  if (core.left_out > 0)
    labelled_line(to, "not in it", as_bytes(core.left_out),
                  " of mappings, such as code and other pages of files");
  if (core.missing > 0)
    labelled_line(to, "CUT SHORT", as_bytes(core.missing),
                  " are missing at its end: all figures are too low");
}

void write_core_json(const CoreFacts& core, Json& json) noexcept {
  json.key("core");
  if (core.path.empty()) return void(json.null().line());
  json.open('{').key("path").text(core.path).key("missing_bytes").number(core.missing);
  json.key("left_out_bytes").number(core.left_out).close('}').line();
}

}  // namespace mallard::report
