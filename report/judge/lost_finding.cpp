// SPDX-License-Identifier: Apache-2.0
// The finding about blocks that nothing leads to, where they were looked for.
#include "report/judge/verdict_words.hpp"

namespace mallard::report::words {
namespace {

/// From this size and this share of the blocks on; a healthy server has less than a tenth of it.
constexpr double kLeastLost = 1 << 20, kLeastLostShare = 0.01;

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
  if (!lost.groups.empty()) {
    const LostGroup& most = lost.groups.front();
    c.text.say(" Most are of ").count(static_cast<double>(most.block_bytes)).say(" bytes.");
    c.evidence("most_lost_block_bytes", static_cast<double>(most.block_bytes));
  }
  if (all.s.recording.on) say_next(c, "The call sites whose live bytes grow made them.");
  else
    say_next(c, "Start the program under 'mallard run': the call sites whose live bytes grow made them.",
             Needs::kRecording);
  all.take(Cause::kLive, bytes);
  all.add(c);
}

}  // namespace mallard::report::words
