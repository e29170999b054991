// SPDX-License-Identifier: Apache-2.0
// Blocks that nothing leads to, as text and as JSON.
#include "report/judge/verdict_words.hpp"
#include "report/write/columns.hpp"
#include "report/write/sections.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kSize = 12, kCount = 12, kBytes = 12, kFirst = 12, kError = 8, kAge = 11;

template <class T>
void add_cell(Sink& to, Number<T> number, std::size_t width) noexcept {
  Cell cell;
  number.add(cell, number.value);
  add_right(to, cell.view(), width);
}

/// What keeps the figures from being the truth.
void write_limits(const LostBlocks& l, const CoreFacts& core, Sink& to) noexcept {
  if (l.swapped_bytes > 0)
    labelled_line(to, "not read", as_bytes(l.swapped_bytes),
                  " are swapped out: what only they lead to looks lost");
  if (l.registers_why) labelled_line(to, "registers", "not read: ", view_of(l.registers_why));
  if (l.unsure_bytes > 0)
    labelled_line(to, "not told apart", as_bytes(l.unsure_bytes), " of the heap, taken for reachable");
  if (!l.runtime.empty())
    labelled_line(to, "not looked into", Printable{l.runtime}, ": its objects are no blocks");
  if (core.left_out > 0)
    labelled_line(to, "not seen", as_bytes(core.left_out), " that the core leaves out may lead to them");
  label(to, "not seen");
  add_wrapped(to,
              "pointers that a program keeps encoded (xor-ed, compressed, at odd addresses, in another "
              "process or a file): what only they lead to looks lost",
              kLabelColumns);
}

void write_group(const LostGroup& g, Sink& to) noexcept {
  add_cell(to, as_grouped(g.block_bytes), kSize);
  add_cell(to, as_grouped(g.blocks), kCount);
  add_cell(to, as_bytes(g.bytes), kBytes);
  add_cell(to, as_grouped(g.first), kFirst);
  if (!g.kind.empty()) add_parts(to, "  ", Printable{g.kind});
  to.add('\n');
}

void add_age(Sink& to, const LostSite& site, std::uint64_t age_ns) noexcept {
  if (site.aged > 0) add_cell(to, as_duration(age_ns), kAge);
  else add_right(to, "-", kAge);
}

void write_site(const Snapshot& s, const LostSite& site, Sink& to) noexcept {
  Cell error;
  add_relative_error(error, site.bytes);
  add_cell(to, as_bytes(site.bytes.value), kBytes);
  if (s.lost.by_samples) add_right(to, error.view(), kError);
  add_cell(to, as_count(site.blocks.value), kCount);
  add_age(to, site, site.youngest_ns);
  add_age(to, site, site.oldest_ns);
  words::Words name;
  if (const SiteRow* const row = words::row_of(s, site.id)) words::add_site(name, *row);
  else name.say("call site ").add_unsigned(site.id);
  add_parts(to, "  ", Printable{name.view()}, "\n");
}

/// Who made them, where that was recorded.
void write_sites(const Snapshot& s, Sink& to) noexcept {
  const LostBlocks& l = s.lost;
  if (!l.by_site) return;
  if (l.blocks > 0 && l.by_samples)
    labelled_line(to, "call sites",
                  l.sites.empty() ? "none of the lost blocks was sampled"
                                  : "estimates, by the lost blocks that were sampled");
  if (l.unbooked_blocks > 0)
    labelled_line(to, "of no call site", as_grouped(l.unbooked_blocks), " blocks, ",
                  as_bytes(l.unbooked_bytes), ": not on the books, or older than they are");
  if (l.sites.empty()) return;
  to.add('\n');
  add_right(to, "lost", kBytes);
  if (l.by_samples) add_right(to, "error", kError);
  add_right(to, "blocks", kCount);
  add_right(to, "youngest", kAge);
  add_right(to, "oldest", kAge);
  to.add("  call site\n");
  for (const LostSite& site : l.sites) write_site(s, site, to);
  if (l.other_sites > 0) add_parts(to, "  and ", as_grouped(l.other_sites), " other call sites\n");
}

void write_sites_json(const LostBlocks& l, Json& json) noexcept {
  json.key("sites_by");
  if (!l.by_site) json.null();
  else json.text(l.by_samples ? "sample" : "exact");
  const bool is_counted = l.by_site && !l.by_samples;
  number_or_null(json, "unbooked_blocks", l.unbooked_blocks, is_counted);
  number_or_null(json, "unbooked_bytes", l.unbooked_bytes, is_counted);
  json.key("other_sites").number(l.other_sites).key("sites").open('[').line();
  for (const LostSite& site : l.sites) {
    json.open('{').key("site").number(site.id);
    write_estimate(json, "bytes", site.bytes);
    write_estimate(json, "blocks", site.blocks);
    json.key("aged_samples").number(site.aged);
    number_or_null(json, "youngest_ns", site.youngest_ns, site.aged > 0);
    number_or_null(json, "oldest_ns", site.oldest_ns, site.aged > 0);
    json.close('}').line();
  }
  json.close(']').line();
}

}  // namespace

void write_lost(const Snapshot& s, Sink& to) noexcept {
  const LostBlocks& l = s.lost;
  if (!l.asked) return;
  heading(to, "Lost blocks (nothing in the process leads to them)");
  if (!l.done) {
    label(to, "not told");
    return add_wrapped(to, l.why_not ? view_of(l.why_not) : "nobody says why", kLabelColumns);
  }
  labelled_line(to, "lost", as_grouped(l.blocks), " blocks of ", as_grouped(l.examined_blocks), ", ",
                as_bytes(l.bytes), " of ", as_bytes(l.examined_bytes));
  if (l.blocks > 0)
    labelled_line(to, "  of them first", as_grouped(l.first), ", ", as_bytes(l.first_bytes),
                  ": no other lost block leads to them either");
  if (l.looks > 1)
    labelled_line(to, "looks", l.looks, " in ", as_duration(l.between_ns), ", ", as_duration(l.duration_ns),
                  " of work");
  if (l.longest_stop_ns > 0)
    labelled_line(to, "threads stopped", l.threads_read, " of ", l.threads, ", for ",
                  as_duration(l.longest_stop_ns), " at most in each look");
  write_limits(l, s.core, to);
  write_sites(s, to);
  if (l.groups.empty()) return;
  to.add('\n');
  add_right(to, "bytes each", kSize);
  add_right(to, "blocks", kCount);
  add_right(to, "together", kBytes);
  add_right(to, "first", kFirst);
  to.add("  what the first word is\n");
  for (const LostGroup& g : l.groups) write_group(g, to);
  if (l.other_groups > 0) add_parts(to, "  and blocks of ", as_grouped(l.other_groups), " other sizes\n");
}

void write_lost_json(const Snapshot& s, Json& json) noexcept {
  const LostBlocks& l = s.lost;
  json.key("lost");
  if (!l.asked) return void(json.null().line());
  json.open('{').key("done").flag(l.done);
  text_or_null(json, "why_not", l.why_not);
  json.key("blocks").number(l.blocks).key("bytes").number(l.bytes);
  json.key("resident_bytes").number(l.resident_bytes);
  json.key("first_blocks").number(l.first).key("first_bytes").number(l.first_bytes);
  json.key("examined_blocks").number(l.examined_blocks).key("examined_bytes").number(l.examined_bytes);
  json.key("unsure_bytes").number(l.unsure_bytes).key("swapped_bytes").number(l.swapped_bytes);
  json.key("looks").signed_number(l.looks).key("between_ns").number(l.between_ns);
  json.key("duration_ns").number(l.duration_ns).key("own_bytes").number(l.own_bytes);
  json.key("threads").signed_number(l.threads).key("threads_read").signed_number(l.threads_read);
  text_or_null(json, "registers_why", l.registers_why);
  json.key("longest_stop_ns").number(l.longest_stop_ns);
  text_or_null(json, "runtime", l.runtime);
  write_sites_json(l, json);
  json.key("other_groups").number(l.other_groups).key("groups").open('[').line();
  for (const LostGroup& g : l.groups) {
    json.open('{').key("block_bytes").number(g.block_bytes).key("blocks").number(g.blocks);
    json.key("bytes").number(g.bytes).key("first_blocks").number(g.first);
    text_or_null(json, "kind", g.kind);
    json.close('}').line();
  }
  json.close(']').close('}').line();
}

}  // namespace mallard::report
