// SPDX-License-Identifier: Apache-2.0
// The other allocators of the process, as text and as JSON.
#include "report/judge/verdict_words.hpp"
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kShown = 6, kBoundShown = 6;

constexpr std::string_view kNotCounted =
    "its calls do not come to mallard, and counting them would mean to change its code";

std::string_view status_word(OtherStatus status) noexcept { return kOtherStatuses[static_cast<int>(status)]; }

void indented(Sink& to, std::string_view text) noexcept {
  constexpr std::size_t kIndent = 6;
  to.add_spaces(kIndent);
  add_wrapped(to, text, kIndent);
}

void write_one(const OtherAllocator& a, bool from_outside, Sink& to) noexcept {
  to.add("  ").add(a.name);
  if (!a.version.empty()) to.add(' ').add(a.version);
  if (!a.object.empty()) {
    to.add(" in ");
    add_printable(to, file_name_of(a.object));
  }
  if (a.mapped_bytes == 0)
    to.add(from_outside ? ": what it mapped is not told from outside\n"
                        : ": no memory was seen to be mapped by it\n");
  else
    add_parts(to, ": ", as_bytes(a.resident_bytes), " resident of ", as_bytes(a.mapped_bytes),
              " that it mapped\n");
  FixedText<1024> line;
  line.add("told by ").add(a.recognised_by);
  if (a.is_managed) line.add("; a runtime's own heap, whose objects do not come from malloc");
  else if (!a.why.empty()) line.add("; ").add(status_word(a.status)).add(": ").add(a.why);
  else if (!from_outside) line.add("; ").add(status_word(a.status));
  if (a.brk_bytes > 0) {
    line.add("; ");
    add_bytes(line, static_cast<double>(a.brk_bytes));
    line.add(" of it is the program break, which only it uses");
  }
  indented(to, line.view());
  if (a.next_step.empty() || a.status == OtherStatus::kRedirected) return;
  line.clear();
  line.add("next step: ").add(a.next_step);
  indented(to, line.view());
}

void write_bound(const BoundElsewhere& b, Sink& to) noexcept {
  FixedText<1024> line;
  line.add(file_name_of(b.object));
  if (b.references == 0) {
    line.add(" binds its own calls to the malloc that it defines (-Bsymbolic)");
  } else {
    line.add(": ");
    add_grouped(line, b.references);
    line.add(b.references == 1 ? " reference" : " references");
    line.add(b.references == 1 ? " to the malloc family leads to " : " to the malloc family lead to ")
        .add(file_name_of(b.bound_to))
        .add(", not to mallard");
  }
  to.add("  ");
  add_wrapped(to, line.view(), 2);
}

}  // namespace

void write_other_allocators(const Snapshot& s, Sink& to) noexcept {
  const Others& o = s.other_allocators;
  if (o.allocators.empty() && o.bound.empty()) return;
  const bool from_outside = !words::is_under_mallard(s);
  const bool is_observed = s.allocator.takeover.is_observed();
  heading(to, from_outside || is_observed ? "Other allocators in the process"
                                          : "Allocators that mallard does not serve");
  std::size_t shown = 0;
  bool is_unmeasured = false;
  for (const OtherAllocator& a : o.allocators) {
    is_unmeasured |= !a.is_managed && a.mapped_bytes == 0 && a.status != OtherStatus::kRedirected;
    if (shown++ < kShown) write_one(a, from_outside, to);
  }
  if (shown > kShown)
    add_parts(to, "  and ", as_grouped(shown - kShown), " more, which are in the JSON report\n");
  shown = 0;
  for (const BoundElsewhere& b : o.bound)
    if (shown++ < kBoundShown) write_bound(b, to);
  if (!s.ledger.known) {
    to.add("  How much they hold is not known, because the resident memory cannot be looked at.\n");
  } else if (is_unmeasured && o.nobody_saw_bytes >= kPageBytes) {
    add_parts(to, "  Not told apart: ", as_bytes(o.nobody_saw_bytes),
              from_outside ? " of other anonymous memory; part of it may be theirs.\n"
                           : " mapped by the loader, libc or bare system calls; part of it may be theirs.\n");
  }
}

void write_other_allocators_json(const Snapshot& s, Json& json) noexcept {
  const Others& o = s.other_allocators;
  json.key("embedded_allocators").open('[').line();
  for (const OtherAllocator& a : o.allocators) {
    json.open('{');
    text_or_null(json, "object", a.object);
    json.key("name").text(a.name);
    text_or_null(json, "version", a.version);
    json.key("recognised_by").text(a.recognised_by).key("managed_heap").flag(a.is_managed);
    json.key("exports_malloc").flag(a.has_own_malloc);
    json.key("resident_bytes");
    if (s.ledger.known) json.number(a.resident_bytes);
    else json.null();
    json.key("mapped_bytes");
    if (s.ledger.known) json.number(a.mapped_bytes);
    else json.null();
    json.key("divided_bytes");
    if (s.ledger.known) json.number(a.divided_bytes);
    else json.null();
    json.key("brk_bytes").number(a.brk_bytes);
    json.key("status").text(status_word(a.status));
    text_or_null(json, "why", a.why);
    text_or_null(json, "next_step", a.next_step);
    json.key("calls");
    const bool is_seen = a.status == OtherStatus::kRedirected || a.status == OtherStatus::kObserved;
    if (is_seen) json.number(0);
    else json.null();
    json.key("calls_why")
        .text(!is_seen                                ? kNotCounted
              : a.status == OtherStatus::kRedirected ? "every entry point leads to mallard"
                                                     : "every call is recorded");
    json.close('}').line();
  }
  json.close(']').line().key("bound_elsewhere").open('[').line();
  for (const BoundElsewhere& b : o.bound) {
    json.open('{').key("object").text(b.object).key("bound_to").text(b.bound_to);
    json.key("references").number(b.references).key("to_server").flag(b.to_server).close('}').line();
  }
  json.close(']').key("nobody_saw_bytes").number(o.nobody_saw_bytes).line();
}

}  // namespace mallard::report
