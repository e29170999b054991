// SPDX-License-Identifier: Apache-2.0
// Findings about holes, and whose blocks have to move for them to go back. What is advised follows from what
// goes back if a site leaves alone, or several together, and not from shares.
#include <algorithm>
#include <initializer_list>

#include "report/judge/heap_words.hpp"
#include "report/model/naming.hpp"

namespace mallard::report::words {
namespace {

constexpr double kMostly = 0.5;
/// A set of sites is named from this share of the jointly pinned pages on.
constexpr double kLeastOfJoint = 0.25;

constexpr std::string_view kAskExactly =
    "Start the program with ALLOC_MODE=exact: it tells whose blocks have to move, alone or together.";
constexpr std::string_view kAttachExactly =
    "mallard attach --mode exact PID tells whose newer blocks have to move, alone or together.";
/// Older blocks are in no books that begin now.
constexpr std::string_view kStartExactly =
    "Start the program with mallard run --mode exact to see which call sites they belong to.";
constexpr std::string_view kStart =
    "Start the program with mallard run to see which call sites they belong to.";

/// Holes that live blocks pin.
Estimate pinned_holes(const Findings& all) noexcept { return less(all.line(Cause::kHoles), cached(all)); }

/// Most of the holes lie where no site's leaving alone would free them.
bool is_joint(const Snapshot& s) noexcept {
  const Pins& pins = s.ledger.pins;
  return pins.known && pins.joint_holes > kMostly * (pins.alone_holes + pins.joint_holes);
}

/// Live bytes as the table of resident memory shows them.
double live_of(const SiteRow& row) noexcept {
  return row.resident_live_bytes.value > 0 ? row.resident_live_bytes.value : row.live_bytes.value;
}

/// Holes around blocks that are older than the books. Samples do not tell: there it is what no site has a
/// share of.
double older_holes(const Case& c) noexcept {
  if (c.s.recording.exact.on) return c.s.before.hole_bytes;
  if (c.s.recording.since_start || c.s.before.live_bytes <= 0) return 0;
  double shared_out = c.s.others.hole_bytes;
  for (const SiteRow& row : std::span(c.s.sites, c.s.site_count)) shared_out += row.hole_bytes.value;
  return std::max(0.0, c.finding.bytes.value - shared_out);
}

/// \return true if they pin the largest part of the holes: no call site is known of them then
bool say_older(Case& c, const SiteRow* largest_site) noexcept {
  const double older = older_holes(c);
  if (older <= 0 || (largest_site && older <= largest_site->hole_bytes.value)) return false;
  const bool exact = c.s.recording.exact.on;
  c.text.say(" ")
      .say(most_or_largest(older, c.finding.bytes.value))
      .say(exact ? " pinned by blocks allocated before exact recording began: "
                 : " pinned by blocks allocated before recording began, as far as samples tell: ")
      .bytes(older)
      .say(" of holes around ")
      .bytes(c.s.before.live_bytes)
      .say(" of them.");
  c.evidence("older_hole_bytes", older);
  say_next(c, exact ? kStartExactly : kStart, Needs::kRecording);
  return true;
}

/// What a site holds alone is known: the advice follows from it.
void say_alone(Case& c, const SiteRow& row) noexcept {
  const double holes = row.alone_hole_bytes.value;
  const bool most = holes > kMostly * c.finding.bytes.value;
  c.text.say(most ? " Most is pinned by " : " The largest part that one call site pins alone is that of ");
  add_site(c.text, row);
  c.text.say(most ? " alone: " : ": ").bytes(holes).say(" of holes around ").bytes(live_of(row));
  c.text.say(" of live blocks. If they leave, ").bytes(row.alone_bytes.value).say(" go back.");
  c.evidence("alone_bytes", row.alone_bytes.value);
  c.evidence("alone_hole_bytes", holes);
  if (most)
    c.next.say("Keep long-lived blocks of this site apart from short-lived ones, in a pool of their own.");
  else c.next.say("No call site's blocks alone hold most of it: to move those of one gives back little.");
}

/// Samples tell shares only.
void say_share(Case& c, const SiteRow& row) noexcept {
  c.text.say(row.hole_bytes.value > kMostly * c.finding.bytes.value ? " Most is the share of "
                                                                    : " The largest share has ");
  add_site(c.text, row);
  c.text.say(": ").bytes(row.hole_bytes.value).say(" of holes around ").bytes(live_of(row));
  c.text.say(" of live blocks. It is no promise: other sites' blocks may lie on the same pages.");
  c.evidence("site_hole_bytes", row.hole_bytes.value);
  if (!c.s.recording.exact.on) say_next(c, c.s.recording.is_attached ? kAttachExactly : kAskExactly, Needs::kRecording);
}

void say_who_pins(Case& c) noexcept {
  const SiteRow* row = largest(c.s, &SiteRow::hole_bytes);
  if (say_older(c, row)) return;
  const SiteRow* alone = largest(c.s, &SiteRow::alone_hole_bytes);
  const bool is_told =
      c.s.ledger.pins.known || (alone && alone->alone_hole_bytes.value > kMostly * c.finding.bytes.value);
  if (is_told && alone) {
    say_alone(c, *alone);
    look_at_largest(c, &SiteRow::alone_hole_bytes);
  } else if (row) {
    say_share(c, *row);
    look_at_largest(c, &SiteRow::hole_bytes);
  } else if (c.s.recording.on) {
    say_next(c,
             c.s.recording.is_attached ? kAttachExactly
                                       : "Set ALLOC_SAMPLE_BYTES lower to see which call site pins the holes.",
             Needs::kRecording);
  }
}

/// "make_node (site 2), make_note (site 4) and 2 more"
void add_set(Case& c, const PinSet& set) noexcept {
  const int named = std::min(set.count, kMaxVerdictSites);
  for (int i = 0; i < named; ++i) {
    if (i > 0) c.text.say(i + 1 == set.count ? " and " : ", ");
    const SiteRow* row = row_of(c.s, set.sites[i]);
    const std::string_view function = row ? naming_function(*row).name : std::string_view();
    if (!function.empty()) add_function(c.text, function);
    c.text.say(function.empty() ? "site " : " (site ").number(set.sites[i]).say(function.empty() ? "" : ")");
    if (row) c.look_at(*row);
  }
  if (set.count > named) c.text.say(" and ").number(set.count - named).say(" more");
}

/// The most that any site of the set would give back by leaving alone.
double most_alone(const Snapshot& s, const PinSet& set) noexcept {
  double most = 0;
  for (int i = 0; i < set.count; ++i)
    if (const SiteRow* row = row_of(s, set.sites[i])) most = std::max(most, row->alone_bytes.value);
  return most;
}

void say_set(Case& c, const PinSet& set) noexcept {
  const char* all = set.count == 2 ? "both" : "all";
  c.text.say(" ").bytes(set.bytes).say(" lie on pages that ");
  add_set(c, set);
  c.text.say(" pin together: ").say(all).say(" must move. If ").say(all).say(" leave, ").bytes(set.together);
  c.text.say(" go back; if one of them leaves alone, ").bytes(most_alone(c.s, set)).say(" at most.");
  c.evidence("set_bytes", set.bytes);
  c.evidence("together_bytes", set.together);
  c.evidence("most_alone_bytes", most_alone(c.s, set));
  c.next.say("Keep the long-lived blocks of ")
      .say(set.count == 2 ? "both sites" : "all these sites")
      .say(" apart from short-lived ones, in one pool or one each; to move those of one site does not help.");
}

}  // namespace

void find_holes(Findings& all) noexcept {
  const Estimate holes = pinned_holes(all);
  if (is_unfit(all) || is_joint(all.s) || !reaches_in_heap(holes, kLeastHeapShare, all.f)) return;
  Case c = all.open(VerdictCause::kExternalFragmentation, holes, how_known(holes));
  say_part(c, "holes_bytes");
  c.text.say("are holes: free memory on pages that live blocks pin (a ")
      .say(view_of(c.s.ledger.unit_name))
      .say(" goes back as a whole only). Live data itself is ")
      .bytes(all.line(Cause::kLive).value)
      .say(".");
  c.evidence("live_bytes", all.line(Cause::kLive).value);
  say_changed(c, Cause::kHoles);
  say_who_pins(c);
  if (c.s.reason == Reason::kInspection)
    say_next(
        c,
        "Start the program with mallard (mallard run): it names the call sites whose blocks pin the pages.",
        Needs::kRecording);
  say_try_another(c);
  say_purge(c);
  all.add(c);
}

void find_joint_pinning(Findings& all) noexcept {
  const Estimate holes = pinned_holes(all);
  if (is_unfit(all) || !is_joint(all.s) || !reaches_in_heap(holes, kLeastHeapShare, all.f)) return;
  const Pins& pins = all.s.ledger.pins;
  Case c = all.open(VerdictCause::kJointPinning, holes, how_known(holes));
  say_part(c, "holes_bytes");
  c.text.say("are holes, most of them on pages that blocks of several call sites pin together (a ")
      .say(view_of(c.s.ledger.unit_name))
      .say(" goes back only when the last block on it leaves).");
  c.evidence("joint_bytes", pins.joint);
  c.evidence("joint_hole_bytes", pins.joint_holes);
  say_changed(c, Cause::kHoles);
  if (!pins.sets.empty() && pins.sets[0].bytes >= kLeastOfJoint * pins.joint) {
    say_set(c, pins.sets[0]);
  } else {
    c.text.say(" They are of many sets of sites, none of which has a quarter of them.");
    c.next.say("No few call sites hold it: to move the blocks of some gives back little.");
    look_at_largest(c, &SiteRow::hole_bytes);
  }
  say_try_another(c);
  say_purge(c);
  all.add(c);
}

}  // namespace mallard::report::words
