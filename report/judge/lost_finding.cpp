// SPDX-License-Identifier: Apache-2.0
// The finding about blocks that nothing leads to, where they were looked for.
#include "report/judge/verdict_words.hpp"

namespace mallard::report::words {
namespace {

/// From this size and this share of the blocks on; a healthy server has less than a tenth of it.
constexpr double kLeastLost = 1 << 20, kLeastLostShare = 0.01;

/// Who made them. \return false if nothing is known of that
bool say_sites(Case& c, const LostBlocks& lost) noexcept {
  if (lost.sites.empty()) return false;
  const LostSite& most = lost.sites.front();
  const SiteRow* const row = row_of(c.s, most.id);
  const bool is_most = surely(most.bytes) > static_cast<double>(lost.bytes) / 2;
  c.text.say(is_most ? " Most are of " : " The largest part is of ");
  if (row) add_site(c.text, *row);
  else c.text.say("call site ").add_unsigned(most.id);
  c.text.say(lost.by_samples ? ": by the samples about " : ": ").bytes(most.bytes.value);
  if (lost.by_samples && most.bytes.has_interval)
    c.text.say(" (95 %: ").bytes(most.bytes.low).say(" to ").bytes(most.bytes.high).say(")");
  else if (lost.by_samples) c.text.say(", of too few to tell the error,");
  c.text.say(" in ").count(most.blocks.value).say(" blocks");
  if (most.aged > 0)
    c.text.say(lost.by_samples && most.aged < 2 ? ", one " : ", the youngest ")
        .time(most.youngest_ns)
        .say(" old");
  c.text.say(".");
  c.evidence("most_lost_site_bytes", most.bytes.value);
  c.evidence("most_lost_site_blocks", most.blocks.value);
  if (most.aged > 0) c.evidence("most_lost_site_youngest_ns", static_cast<double>(most.youngest_ns));
  for (const LostSite& site : lost.sites)
    if (const SiteRow* with = row_of(c.s, site.id)) c.look_at(*with);
  return true;
}

}  // namespace

void find_lost_blocks(Findings& all) noexcept {
  const LostBlocks& lost = all.s.lost;
  const auto bytes = static_cast<double>(lost.resident_bytes);
  // What is swapped out was not read: it may lead to them.
  if (!lost.done || lost.swapped_bytes > 0 || bytes < kLeastLost ||
      static_cast<double>(lost.bytes) < kLeastLostShare * static_cast<double>(lost.examined_bytes))
    return;
  Case c =
      all.open(VerdictCause::kLostBlocks, {bytes, 0, true, bytes, bytes},
               lost.registers_why || all.s.core.left_out > 0 ? Confidence::kInferred : Confidence::kCounted);
  say_part(c, "lost_bytes");
  c.text.say("are in blocks that nothing leads to any more: ").count(static_cast<double>(lost.blocks));
  c.text.say(" of ").count(static_cast<double>(lost.examined_blocks));
  if (lost.looks > 1)
    c.text.say(" blocks, in each of ").number(lost.looks).say(" looks and not written to between them. ");
  else c.text.say(" blocks, in the one look that a core file allows. ");
  if (lost.first < lost.blocks)
    c.text.say("Of ")
        .count(static_cast<double>(lost.first))
        .say(" of them the program lost the address itself; the others were lost with these. ");
  c.text.say(all.s.core.left_out > 0
                 ? "That is a leak, unless what the core leaves out, such as shared files, leads to them."
                 : "The program cannot free them: that is a leak, not a cache.");
  c.evidence("lost_blocks", static_cast<double>(lost.blocks));
  c.evidence("lost_first_blocks", static_cast<double>(lost.first));
  c.evidence("examined_blocks", static_cast<double>(lost.examined_blocks));
  c.evidence("looks", lost.looks);
  const bool has_sites = say_sites(c, lost);
  if (!has_sites && !lost.groups.empty()) {
    const LostGroup& most = lost.groups.front();
    c.text.say(" Most are of ").count(static_cast<double>(most.block_bytes)).say(" bytes.");
    c.evidence("most_lost_block_bytes", static_cast<double>(most.block_bytes));
  }
  if (has_sites)
    say_next(c, "Look at what becomes of the blocks of these call sites: no address of them is kept.");
  else if (all.s.recording.on) say_next(c, "The call sites whose live bytes grow made them.");
  else
    say_next(c, "Start the program under 'mallard run': the call sites whose live bytes grow made them.",
             Needs::kRecording);
  all.take(Cause::kLive, bytes);
  all.add(c);
}

}  // namespace mallard::report::words
