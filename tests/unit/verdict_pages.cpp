// SPDX-License-Identifier: Apache-2.0
// Verdicts of hand-made snapshots about what the kernel does with pages: huge ones, and copies since a fork.
#include <initializer_list>
#include <string>

#include "report/judge/verdict.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/made_up_snapshot.hpp"

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

namespace {

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/// Zeros on huge pages, in one line.
void put_zeros(Process& p, Cause cause, double megabytes) {
  HugeZeros& zeros = p.s.ledger.huge_zeros;
  zeros.known = true;
  zeros.huge_bytes = 90 << 20;
  zeros.in_line[static_cast<int>(cause)] = megabytes * kMega;
  double sum = 0;
  for (const double bytes : zeros.in_line) sum += bytes;
  zeros.bytes = counted(sum);
}

double bytes_of(const Process& p, VerdictCause cause) {
  for (const Finding& f : p.s.findings)
    if (f.cause == cause) return f.bytes.value;
  return 0;
}

}  // namespace

TEST_CASE("verdict: huge pages that are partly untouched, at the threshold and just below") {
  Process above, below, small(40);
  put_zeros(above, Cause::kLive, 30.1);
  put_zeros(below, Cause::kLive, 29.9);
  put_zeros(small, Cause::kLive, 15.9);
  REQUIRE(above.judge_it() == "huge_pages");
  REQUIRE(has(above.text(), "30.1 MiB of the program's 100.0 MiB (30 %) are parts of huge pages"));
  REQUIRE(has(above.text(), "Most is in live blocks, 30.1 MiB."));
  REQUIRE(below.judge_it() == "none");
  REQUIRE(small.judge_it() == "none");
}

TEST_CASE("verdict: what of huge pages was only estimated counts with the low end") {
  Process p;
  put_zeros(p, Cause::kLive, 35);
  p.s.ledger.huge_zeros.bytes.low = 29 * kMega;
  REQUIRE(p.judge_it() == "none");
  p.s.ledger.huge_zeros.bytes.low = 31 * kMega;
  REQUIRE(p.judge_it() == "huge_pages");
  REQUIRE(p.s.verdict.confidence == Confidence::kEstimated);
}

TEST_CASE("verdict: zeros on huge pages are in no other finding") {
  Process p(200);
  p.move(Cause::kHoles, 90);
  put_zeros(p, Cause::kHoles, 62);
  REQUIRE(p.judge_it() == "huge_pages");
  REQUIRE(p.s.findings.size() == 1);  // 28 MiB of holes are left
  p.set(Cause::kHoles, 130);
  p.set(Cause::kLive, 70);
  REQUIRE(p.judge_it() == "external_fragmentation");
  REQUIRE(bytes_of(p, VerdictCause::kExternalFragmentation) == 68 * kMega);
  REQUIRE(bytes_of(p, VerdictCause::kHugePages) == 62 * kMega);
}

TEST_CASE("verdict: a leak of blocks that are hardly touched has the zeros on its huge pages") {
  Process p;
  p.grow(p.add_site(80, 1 << 20), 60);
  put_zeros(p, Cause::kLive, 70);
  REQUIRE(p.judge_it() == "leak");
  REQUIRE(p.s.findings.size() == 2);
  REQUIRE(bytes_of(p, VerdictCause::kHugePages) == 40 * kMega);
}

TEST_CASE("verdict: how to do without huge pages depends on who asks for them") {
  Process p;
  put_zeros(p, Cause::kAnonymous, 40);
  p.set(Cause::kAnonymous, 40);
  p.set(Cause::kLive, 60);
  p.s.ledger.huge_zeros.owner = "/opt/libengine.so";
  p.s.ledger.huge_zeros.allocator = "mimalloc";
  REQUIRE(p.judge_it() == "huge_pages");
  REQUIRE(p.s.findings.size() == 1);
  REQUIRE(p.s.verdict.owner == "/opt/libengine.so");
  REQUIRE(has(p.text(), "in memory beside the heap, 40.0 MiB, of mimalloc inside libengine.so."));
  REQUIRE(has(std::string(p.s.verdict.next_step), "MADV_HUGEPAGE"));
  REQUIRE(has(std::string(p.s.verdict.next_step), "ALLOC_HUGE_PAGES=off would save about 40.0 MiB."));
  p.s.ledger.huge_zeros.everywhere = true;
  p.s.allocator.name = "system";
  p.judge_it();
  REQUIRE(has(std::string(p.s.verdict.next_step), "every process here"));
  REQUIRE(!has(std::string(p.s.verdict.next_step), "GLIBC_TUNABLES"));
}

TEST_CASE("verdict: memory copied since the fork, at the threshold and just below") {
  Process above, below, too_few;
  above.s.copied_since_fork = counted(30.1 * kMega);
  below.s.copied_since_fork = counted(29.9 * kMega);
  too_few.s.copied_since_fork = {60 * kMega, 0, false, 0, 0};
  above.s.process.parent_pid = 4242;
  REQUIRE(above.judge_it() == "copied_since_fork");
  REQUIRE(has(above.text(), "process 4242 has pages of its own"));
  REQUIRE(below.judge_it() == "none");
  REQUIRE(too_few.judge_it() == "none");
}

TEST_CASE("verdict: what was copied since the fork is live memory, and no other finding's") {
  Process p;
  p.grow(p.add_site(80, 1000), 60);
  p.s.copied_since_fork = counted(70 * kMega);
  REQUIRE(p.judge_it() == "leak");
  REQUIRE(bytes_of(p, VerdictCause::kCopiedSinceFork) == 40 * kMega);
  Process with_zeros;
  put_zeros(with_zeros, Cause::kLive, 45);
  with_zeros.s.copied_since_fork = counted(80 * kMega);
  with_zeros.judge_it();
  REQUIRE(bytes_of(with_zeros, VerdictCause::kHugePages) == 45 * kMega);
  REQUIRE(bytes_of(with_zeros, VerdictCause::kCopiedSinceFork) == 55 * kMega);
}

TEST_CASE("verdict: free memory on pages that no thread owns, at the threshold and just below") {
  Process above, below;
  for (Process* p : {&above, &below}) {
    p->s.allocator.name = "mimalloc";
    p->move(Cause::kHoles, 50);
  }
  above.s.ledger.ownerless_bytes = static_cast<std::uint64_t>(30.1 * kMega);
  below.s.ledger.ownerless_bytes = static_cast<std::uint64_t>(29.9 * kMega);
  REQUIRE(above.judge_it() == "abandoned_pages");
  REQUIRE(above.s.findings.size() == 1);  // 19.9 MiB of other holes are left
  REQUIRE(below.judge_it() == "external_fragmentation");
  REQUIRE(below.s.findings.size() == 1);
  REQUIRE(bytes_of(below, VerdictCause::kExternalFragmentation) == 50 * kMega);
}

TEST_CASE("verdict: how many threads have not run is said of what they keep") {
  Process p;
  p.move(Cause::kHoles, 60);
  p.s.ledger.thread_cached_bytes = 45u << 20;
  p.s.process.threads = 102;
  p.s.process.idle_threads = -1;  // the first report
  p.judge_it();
  REQUIRE(!has(p.text(), "have not run"));
  p.s.process.idle_threads = 96;
  p.s.process.compared_threads = 100;
  p.s.process.idle_for_ns = 12'000'000'000;
  REQUIRE(p.judge_it() == "thread_caches");
  REQUIRE(has(p.text(), "96 of 100 threads have not run since the last report, "));
}

TEST_CASE("verdict: lost blocks, where they were looked for, at the threshold and just below") {
  const auto lose = [](Process& p, double lost_bytes, double examined_megabytes) {
    LostBlocks& lost = p.s.lost;
    lost.asked = lost.done = true;
    lost.looks = 2;
    lost.blocks = 5000;
    lost.first = 4000;
    lost.bytes = lost.resident_bytes = static_cast<std::uint64_t>(lost_bytes);
    lost.examined_blocks = 100'000;
    lost.examined_bytes = static_cast<std::uint64_t>(examined_megabytes * kMega);
  };
  Process above, few, part, core, swapped, refused, unsure;
  lose(above, 1.01 * kMega, 100);
  lose(few, 0.99 * kMega, 90);
  lose(part, 1.01 * kMega, 102);
  for (Process* p : {&swapped, &refused, &unsure}) lose(*p, 50 * kMega, 100);
  REQUIRE(above.judge_it() == "lost_blocks");
  REQUIRE(has(above.text(), "are in blocks that nothing leads to any more: 5,000 of 100,000 blocks, in each of 2 looks"));
  REQUIRE(few.judge_it() == "none");
  REQUIRE(part.judge_it() == "none");
  lose(core, 1.01 * kMega, 100);
  core.s.lost.looks = 1;
  core.s.core.left_out = 4096;
  REQUIRE(core.judge_it() == "lost_blocks");
  REQUIRE(has(core.text(), "100,000 blocks, in the one look that a core file allows. "));
  REQUIRE(has(core.text(), "That is a leak, unless what the core leaves out, such as shared files, leads to them."));
  REQUIRE(core.s.verdict.confidence == Confidence::kInferred);
  swapped.s.lost.swapped_bytes = 4096;
  refused.s.lost.done = false;
  unsure.s.lost.registers_why = "nothing was to be stopped";
  REQUIRE(swapped.judge_it() == "none");
  REQUIRE(refused.judge_it() == "none");
  REQUIRE(unsure.judge_it() == "lost_blocks");
  REQUIRE(unsure.s.verdict.confidence == Confidence::kInferred);
}

TEST_CASE("verdict: lost blocks are told by call site, with the error where samples tell it") {
  Process p;
  LostBlocks& lost = p.s.lost;
  lost.asked = lost.done = lost.by_site = lost.by_samples = true;
  lost.looks = 2;
  lost.blocks = lost.first = 5000;
  lost.bytes = lost.resident_bytes = 50u << 20;
  lost.examined_blocks = 100'000;
  lost.examined_bytes = 100u << 20;
  LostSite sites[] = {{77, {40 * kMega, 0, true, 30 * kMega, 50 * kMega}, {4000, 0, true, 3000, 5000}, 40, 3'000'000'000, 9'000'000'000}};
  lost.sites = sites;
  REQUIRE(p.judge_it() == "lost_blocks");
  REQUIRE(has(p.text(), "Most are of call site 77: by the samples about 40.0 MiB (95 %: 30.0 MiB to 50.0 MiB) in 4,000 blocks, the youngest 3"));
  // Not surely more than half.
  sites[0].bytes.low = 20 * kMega;
  p.judge_it();
  REQUIRE(has(p.text(), "The largest part is of call site 77: "));
  sites[0].bytes.has_interval = false;
  sites[0].aged = 1;
  p.judge_it();
  REQUIRE(has(p.text(), "about 40.0 MiB, of too few to tell the error, in 4,000 blocks, one 3"));
  lost.by_samples = false;
  sites[0].bytes = counted(40 * kMega);
  sites[0].aged = 0;
  p.judge_it();
  REQUIRE(has(p.text(), "Most are of call site 77: 40.0 MiB in 4,000 blocks."));
}
