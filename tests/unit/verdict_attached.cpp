// SPDX-License-Identifier: Apache-2.0
// What is advised where mallard was attached: no variable of mallard's reaches the process.
#include <initializer_list>
#include <string>

#include "report/judge/verdict.hpp"
#include "report/write/text.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/made_up_snapshot.hpp"

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

/// 60 MiB of holes, of which samples give a site some.
struct Attached : Process {
  explicit Attached(double site_holes) {
    move(Cause::kHoles, 60);
    s.reason = Reason::kDump;
    s.recording.is_attached = s.answers_no_signal = true;
    add_site(2, 200).hole_bytes = counted(site_holes * kMega);
  }
};

}  // namespace

TEST_CASE("attached: what asks for exact books is attach, and no variable") {
  Attached p(50);
  REQUIRE(p.judge_it() == "external_fragmentation");
  const std::string_view next = p.s.verdict.next_step;
  REQUIRE(has(next, "mallard attach --mode exact 4711 tells whose newer blocks have to move"));
  REQUIRE(has(next, "Or try another allocator (mallard run --backend)."));
  REQUIRE_FALSE(has(next, "ALLOC_"));
  p.s.recording.is_attached = false;
  p.judge_it();
  REQUIRE(has(p.s.verdict.next_step, "Start the program with ALLOC_MODE=exact"));
  REQUIRE(has(p.s.verdict.next_step, "(ALLOC_BACKEND)"));
}

TEST_CASE("attached: older blocks lead where no site has more") {
  Attached p(0.004);
  p.s.before.live_bytes = 35 * kMega;
  REQUIRE(p.judge_it() == "external_fragmentation");
  REQUIRE(has(p.text(), "Most is pinned by blocks allocated before recording began, as far as samples tell: "
                        "60.0 MiB of holes around 35.0 MiB of them."));
  REQUIRE_FALSE(has(p.text(), "share"));
  REQUIRE(has(p.s.verdict.next_step, "Start the program with mallard run to see which call sites"));
  for (const double site : {29., 31.}) {  // of 60: the site has less than they, or more
    Attached of_both(site);
    of_both.s.before.live_bytes = 35 * kMega;
    of_both.judge_it();
    REQUIRE(has(of_both.text(), "older") == false);
    REQUIRE(has(of_both.text(), "before recording began") == (site < 30));
  }
  Attached since_start(0.004);
  since_start.s.before.live_bytes = 35 * kMega;
  since_start.s.recording.since_start = true;
  since_start.judge_it();
  REQUIRE(has(since_start.text(), "The largest share has"));
}

TEST_CASE("attached: no site has holes") {
  Attached p(0);
  p.judge_it();
  REQUIRE(has(p.s.verdict.next_step, "mallard attach --mode exact 4711"));
  REQUIRE_FALSE(has(p.s.verdict.next_step, "ALLOC_"));
}

TEST_CASE("attached: exact books leave older blocks to a start under mallard") {
  Attached p(10);
  p.s.recording.exact.on = true;
  p.s.before = {5 * kMega, 45 * kMega, 40 * kMega};
  p.judge_it();
  REQUIRE(has(p.s.verdict.next_step, "Start the program with mallard run --mode exact"));
  REQUIRE_FALSE(has(p.s.verdict.next_step, "ALLOC_"));
}

TEST_CASE("attached: what the text says of shares") {
  Attached p(50);
  p.judge_it();
  std::string text;
  Sink to([](void* all, const char* bytes, std::size_t n) { return static_cast<std::string*>(all)->append(bytes, n), 0L; },
          &text);
  write_text(p.s, {}, to);
  to.flush();
  REQUIRE(has(text, "A share is no promise: mallard attach --mode exact 4711 tells what goes\n"));
  REQUIRE_FALSE(has(text, "ALLOC_"));
}

TEST_CASE("attached: where no heap was found, anonymous memory may be the allocator's") {
  for (const bool is_known : {false, true}) {
    Process p;
    p.move(Cause::kAnonymous, 60);
    p.s.reason = Reason::kDump;
    p.s.ledger.divided = is_known;
    p.s.recording.is_attached = true;
    p.add_site(2, 200);
    REQUIRE(p.judge_it() == "second_allocator");
    CHECK(has(p.text(), "did not come from malloc") == is_known);
    CHECK(has(p.text(), "its heap may be all of this") != is_known);
    CHECK(has(p.s.verdict.next_step, "Look at the call sites with the most live memory") != is_known);
  }
  Process idle;
  idle.move(Cause::kAnonymous, 60);
  idle.s.ledger.divided = false;
  idle.s.recording.is_attached = true;
  idle.judge_it();
  CHECK(has(idle.s.verdict.next_step, "No allocation has been sampled yet"));
  Process under_mallard;  // whose mappings were seen
  under_mallard.move(Cause::kAnonymous, 60);
  under_mallard.s.ledger.divided = false;
  REQUIRE(under_mallard.judge_it() == "second_allocator");
  CHECK(has(under_mallard.text(), "did not come from malloc"));
}

TEST_CASE("verdict: free pages of glibc's heap beside an observed mimalloc are not said to be mimalloc's") {
  struct Judged {
    std::string text, next;
    double saved;  ///< in MiB, by mimalloc's delay; 0 = that is not advised
  };
  const auto judged = [](double glibcs) {
    Process p(200);
    p.s.allocator.name = "mimalloc";
    p.s.allocator.version = "2.2.4";
    p.move(Cause::kRetained, 150);
    p.s.ledger.divided = true;
    p.s.ledger.heap_bytes = 200u << 20;
    OtherAllocator other{};
    other.name = kGlibcMalloc;
    other.resident_bytes = other.divided_bytes = static_cast<std::uint64_t>(glibcs * kMega);
    if (glibcs > 0) p.s.other_allocators.allocators = {&other, 1};
    p.s.ledger.free_memory.large_free = other.divided_bytes * 9 / 10;
    CHECK(p.judge_it() == "retention");
    Judged j{p.text(), std::string(p.s.verdict.next_step), 0};
    for (const Remedy& r : p.s.remedies)
      if (r.line == "MIMALLOC_PURGE_DELAY=0") j.saved = r.saving.value / kMega;
    return j;
  };
  const Judged alone = judged(0);
  CHECK(has(alone.text, "that mimalloc keeps for later"));
  CHECK(alone.saved == Approx(150));
  CHECK(!has(alone.text + alone.next, "glibc"));
  const Judged both = judged(60);
  CHECK(has(both.text, "that mimalloc and glibc keep for later"));
  CHECK(has(both.text, "54.0 MiB and more are glibc's"));
  CHECK(both.saved == Approx(96));
  const Judged glibcs = judged(110);
  CHECK(has(glibcs.next, "glibc keeps its pages until malloc_trim"));
  CHECK(glibcs.saved == 0);
}
