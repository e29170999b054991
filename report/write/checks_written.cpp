// SPDX-License-Identifier: Apache-2.0
// The checks that a report makes of its own figures, as text and as JSON.
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

void add_figure(TextBuffer& to, CheckUnit unit, double value) noexcept {
  if (unit == CheckUnit::kBytes) add_bytes(to, value);
  else add_grouped(to, static_cast<std::uint64_t>(value));
}

void write_figure(Sink& to, std::string_view words, CheckUnit unit, double value,
                  std::string_view meaning) noexcept {
  constexpr std::size_t kWords = 46;
  Cell cell;
  to.add("  ").add(words);
  if (words.size() < kWords) to.add_spaces(kWords - words.size());
  add_figure(cell, unit, value);
  add_right(to, cell.view(), 12);
  if (!meaning.empty()) to.add("   ").add(meaning);
  to.add('\n');
}

}  // namespace

void write_checks(const Snapshot& s, Sink& to) noexcept {
  bool is_first = true;
  for (int i = 0; i < kCheckCount; ++i) {
    const Check& check = s.checks[i];
    if (check.state != CheckState::kFailed) continue;
    if (is_first) {
      heading(to, "Figures of this report that contradict each other");
      to.add("  Of each pair one is wrong: what rests on it cannot be relied on.\n");
    }
    is_first = false;
    const CheckFacts& facts = kChecks[i];
    Cell bound;
    bound.add(facts.relation == CheckRelation::kEqual    ? "expected the same, ±"
              : facts.relation == CheckRelation::kAtMost ? "expected no less, -"
                                                         : "expected no more, +");
    add_figure(bound, facts.unit, check.tolerance);
    write_figure(to, facts.ours, facts.unit, check.ours, "");
    write_figure(to, facts.theirs, facts.unit, check.theirs, bound.view());
  }
}

void write_checks_json(const Snapshot& s, Json& json) noexcept {
  json.key("checks").open('[').line();
  for (int i = 0; i < kCheckCount; ++i) {
    const Check& check = s.checks[i];
    const CheckFacts& facts = kChecks[i];
    const bool made = check.state != CheckState::kNotMade;
    const auto figure = [&](std::string_view name, double value) {
      json.key(name);
      made ? json.number(static_cast<std::uint64_t>(value + 0.5)) : json.null();
    };
    json.open('{').key("name").text(facts.name);
    json.key("state").text(kCheckStates[static_cast<int>(check.state)]);
    json.key("relation").text(kCheckRelations[static_cast<int>(facts.relation)]);
    json.key("unit").text(kCheckUnits[static_cast<int>(facts.unit)]);
    figure("ours", check.ours);
    figure("theirs", check.theirs);
    figure("tolerance", check.tolerance);
    json.key("ours_is").text(facts.ours).key("theirs_is").text(facts.theirs);
    text_or_null(json, "why_not", check.why_not);
    json.close('}').line();
  }
  json.close(']').line();
}

}  // namespace mallard::report
