// SPDX-License-Identifier: Apache-2.0
// The remedies, as text and as JSON.
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kRemedyColumns = 14;

void remedy_label(Sink& to, std::string_view name) noexcept {
  to.add("  ").add(name).add_spaces(kRemedyColumns - 2 - name.size());
}

/// Wrapped like a sentence, but never broken within a line that is to be copied.
void write_one(const Remedy& r, bool all, Sink& to) noexcept {
  const RemedyFacts& facts = facts_of(r.kind);
  remedy_label(to, r.predicted ? "saves" : "try it");
  FixedText<256> what;
  if (r.predicted) {
    add_bytes(what, r.saving.value);
    add_bytes(what.add(" ("), r.saving.low);
    add_bytes(what.add(" to "), r.saving.high);
    what.add("): ");
  }
  add_wrapped(to, what.add(facts.words).view(), kRemedyColumns);
  const bool is_call = r.line.ends_with(')');
  remedy_label(to, is_call ? "call" : !r.predicted || !facts.lasts ? "run" : r.site != 0 ? "make" : "set");
  add_printable(to, r.line);
  to.add('\n');
  remedy_label(to, "costs");
  add_wrapped(to, facts.costs, kRemedyColumns);
  if (!all) return;
  remedy_label(to, "because");
  add_wrapped(to, r.why, kRemedyColumns);
}

}  // namespace

void write_remedies(const Snapshot& s, std::size_t most, bool all, Sink& to) noexcept {
  if (s.remedies.empty()) return;
  heading(to, s.remedies.size() == 1 ? "Remedy (predicted from the figures below)"
                                     : "Remedies (predicted from the figures below; savings overlap)");
  for (const Remedy& r : s.remedies.first(std::min(most, s.remedies.size()))) write_one(r, all, to);
}

void write_remedies_json(const Snapshot& s, Json& json) noexcept {
  json.key("remedies").open('[');
  for (const Remedy& r : s.remedies) {
    const RemedyFacts& facts = facts_of(r.kind);
    json.line().open('{').key("name").text(facts.name).key("title").text(facts.words);
    json.key("predicted").flag(r.predicted);
    write_if_told(json, "saving_bytes", r.predicted ? r.saving : Estimate{});
    json.key("line").text(r.line).key("why").text(r.why).key("costs").text(facts.costs);
    json.key("lasts").flag(facts.lasts);
    number_or_null(json, "site", r.site, r.site != 0).close('}');
  }
  json.close(']').line();
}

}  // namespace mallard::report
