// SPDX-License-Identifier: Apache-2.0
// How long a text report is, and what it begins and ends with; sentences about who serves and of dead processes.
#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "report/write/text.hpp"
#include "tests/unit/made_up_snapshot.hpp"

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

namespace {

std::string written(const Snapshot& s, bool brief) {
  std::string text;
  Sink to(
      [](void* out, const char* bytes, std::size_t size) {
        static_cast<std::string*>(out)->append(bytes, size);
        return 0L;
      },
      &text);
  TextLayout layout;
  layout.brief = brief;
  write_text(s, layout, to);
  to.flush();
  return text;
}

long lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }
bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// Everything at once: findings of each kind, with sentences that fill screens, every line of the ledger, owners
/// by the dozen, and a thousand call sites.
struct Monster : Process {
  std::string sentences;
  std::vector<Finding> findings;

  Monster() : Process(2000) {
    for (int i = 0; i < 30; ++i) sentences += "This sentence is one of thirty that say what is the matter here. ";
    for (int i = 1; i < kCauseCount; ++i) set(static_cast<Cause>(i), 50 + i);
    for (int i = 0; i < kCauseCount; ++i)
      for (int n = 0; n < 40; ++n)
        details.push_back({.cause = static_cast<Cause>(i), .name = "/usr/lib/some/library.so", .bytes = 1 << 20, .mappings = 3});
    for (int i = 0; i < 1000; ++i) {
      SiteRow& row = add_site(1 + i % 7, 200);
      row.resident_bytes = counted(row.live_bytes.value);
    }
    s.live_count.value = 1000;
    s.ledger.pinned_bytes = 1000 << 20;
    judge_it_anyhow();
    for (std::size_t i = 0; i < 25; ++i) {
      Finding f;
      f.cause = VerdictCause::kRetention;
      f.title = "retention";
      f.bytes = counted(20 * kMega);
      f.text = f.next_step = sentences;
      findings.push_back(f);
    }
    s.findings = findings;
    s.verdict = findings[0];
    s.growth_text = "live memory does not grow.";
  }
  void judge_it_anyhow() {
    s.sites = rows.data();
    s.site_count = static_cast<std::uint32_t>(rows.size());
    s.ledger.details = details.data();
    s.ledger.detail_count = static_cast<std::uint32_t>(details.size());
  }
};

/// From the heading of the verdict to the next section that is no conclusion.
long lines_of_conclusions(const std::string& text) {
  const std::size_t begin = text.find("\nVerdict\n");
  REQUIRE(begin != std::string::npos);
  const std::size_t end = std::min(text.find("\nProcess\n"), text.find("\nWhere the resident memory is\n"));
  return lines_of(text.substr(begin, end - begin));
}

}  // namespace

TEST_CASE("text: conclusions come first and fit on a screen, whatever there is to say") {
  Monster m;
  for (const bool brief : {true, false}) {
    const std::string text = written(m.s, brief);
    CHECK(text.find("\nVerdict\n") < 120);
    CHECK(lines_of_conclusions(text) <= static_cast<long>(kConclusionLines));
    CHECK(has(text, "This sentence is one of thirty"));  // some of it
    CHECK(has(text, "more in the JSON report"));
  }
  // What did not fit is told later.
  const std::string whole = written(m.s, false);
  CHECK(has(whole, "\nFindings in full\n"));
  CHECK(whole.find("\nIn short\n") > whole.find("\nAbout these figures\n"));
  Process p;
  p.add_site(100, 200);
  p.judge_it();
  CHECK_FALSE(has(written(p.s, false), "\nFindings in full\n"));
}

TEST_CASE("text: a brief report has 119 lines at most, and says how many sites it leaves out") {
  Monster m;
  const std::string text = written(m.s, true);
  CHECK(lines_of(text) < static_cast<long>(kBriefLines));
  CHECK(has(text, " more sites\n"));
  CHECK(lines_of(written(m.s, false)) > 300);
  Process small;
  small.add_site(100, 200);
  small.judge_it();
  CHECK_FALSE(has(written(small.s, true), " more sites\n"));
}

TEST_CASE("text: a report of a bypassed process names the allocator, and what helps") {
  Process p;
  p.s.allocator.bypassed = true;
  p.s.allocator.bypass_owner = "the executable itself";
  OtherAllocator inside{};
  inside.object = "/bin/program";
  inside.name = "mimalloc";
  inside.version = "2.2.4";
  inside.has_own_malloc = true;
  inside.next_step = "ALLOC_EMBEDDED=redirect takes over mimalloc at start (42 entry points)";
  p.s.other_allocators.allocators = {&inside, 1};
  p.judge_it();
  for (const bool brief : {true, false}) {
    const std::string text = written(p.s, brief);
    CHECK(has(text, "it is                   mimalloc 2.2.4\n"));
    CHECK(has(text, "ALLOC_EMBEDDED=redirect takes over mimalloc"));
    CHECK_FALSE(has(text, "mallard check"));
  }
  inside.object = "/lib/libother.so";
  p.s.allocator.bypass_owner = "/lib/libother.so";
  CHECK(has(written(p.s, false), "put libmallard.so first in LD_PRELOAD"));
}

TEST_CASE("text: stacks of one frame are said") {
  Process p;
  p.judge_it();
  CHECK_FALSE(has(written(p.s, false), "of one frame"));
  p.s.recording.one_frame_sites = 12;
  CHECK(has(written(p.s, false), "of one frame            12 call sites: called from code without unwind tables"));
}

TEST_CASE("judged: another allocator than the one that the program came with") {
  Process p;
  p.s.allocator.version = "5.3.0";
  p.judge_it();
  CHECK(p.s.judged_text.empty());
  p.s.allocator.replaced = "mimalloc 2.2.4 inside server";
  p.judge_it();
  CHECK(has(std::string(p.s.judged_text), "the program came with mimalloc 2.2.4 inside server; jemalloc 5.3.0 serves"));
  CHECK(has(written(p.s, true), "  judged      the program came with mimalloc 2.2.4"));
  p.s.allocator.bypassed = true;
  p.judge_it();
  CHECK(p.s.judged_text.empty());
}

TEST_CASE("verdict: nobody is told to ask a process that has ended") {
  for (const char* backend : {"system", "jemalloc", "mimalloc", "tcmalloc"})
    for (const Cause cause : {Cause::kRetained, Cause::kHoles, Cause::kAnonymous, Cause::kStacks}) {
      CAPTURE(backend, static_cast<int>(cause));
      Process p;
      p.s.allocator.name = backend;
      p.move(cause, 70);
      p.grow(p.add_site(60, 200), 30);
      p.s.reason = Reason::kExit;
      p.judge_it();
      for (const Finding& f : p.s.findings) {
        const std::string next(f.next_step);
        CHECK_FALSE((has(next, "sk again") || has(next, "mallard dump") || has(next, "4711")));
      }
      CHECK_FALSE((has(std::string(p.s.growth_text), "sk again")));
    }
}

TEST_CASE("verdict: the largest site is the one with most in memory, not the one that asked for most") {
  Process p;
  p.rows.reserve(2);
  SiteRow& reserved = p.add_site(400, 4 << 20);
  reserved.resident_bytes.value = 0.8 * kMega;
  SiteRow& full = p.add_site(60, 200);
  full.resident_bytes.value = 62 * kMega;
  REQUIRE(p.judge_it() == "none");
  CHECK(has(p.text(), "(site 2) with 62.0 MiB in memory"));
  p.s.ledger.divided = false;  // nothing better is known
  REQUIRE(p.judge_it() == "none");
  CHECK(has(p.text(), "(site 1) with 400.0 MiB live"));
}
