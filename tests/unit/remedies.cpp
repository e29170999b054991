// SPDX-License-Identifier: Apache-2.0
// What is advised for hand-made snapshots, and the lines to set.
#include "report/judge/remedies.hpp"

#include <string>
#include <vector>

#include "tests/unit/catch.hpp"
#include "tests/unit/made_up_snapshot.hpp"

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

namespace {

std::uint64_t mega(double n) { return static_cast<std::uint64_t>(n * kMega); }

struct Glibc : Process {
  explicit Glibc(double megabytes = 100) : Process(megabytes) {
    s.allocator.name = "system";
    s.allocator.version = "glibc 2.36";
    s.process.command_line = "program --serve";
  }
  std::vector<std::string> names() {
    judge_it();
    std::vector<std::string> out;
    for (const Remedy& r : s.remedies) out.emplace_back(facts_of(r.kind).name);
    return out;
  }
};
using Names = std::vector<std::string>;

bool has(std::string_view text, const char* part) { return text.find(part) != text.npos; }

std::string line_of(const Snapshot& s, RemedyKind kind) {
  FixedText<512> line;
  return add_setting(s, kind, line) ? std::string(line.view()) : std::string();
}

}  // namespace

TEST_CASE("remedies: none where everything is live, the process small, or the memory its own") {
  Glibc live, small(30);
  REQUIRE(live.names().empty());
  small.move(Cause::kRetained, 25);
  REQUIRE(small.names().empty());
}

TEST_CASE("remedies: tops beyond the threshold are a matter of the trim threshold") {
  Glibc p;
  p.move(Cause::kRetained, 50);
  p.s.ledger.free_memory.top_excess = mega(40);
  p.s.ledger.free_memory.main_top = mega(45);
  REQUIRE(p.names() == Names{"trim_threshold", "purge"});
  const Remedy& first = p.s.remedies[0];
  REQUIRE(first.line == "GLIBC_TUNABLES=glibc.malloc.trim_threshold=131072");
  REQUIRE(first.saving.value == 40 * kMega);
  REQUIRE(first.saving.low == 36 * kMega);
  REQUIRE(first.saving.high - 44 * kMega <= 1);
  REQUIRE(p.s.remedies[1].line == "mallard dump --purge 4711");
  REQUIRE(p.s.remedies[1].saving.value == 50 * kMega);
  REQUIRE(has(p.s.verdict.next_step, "trim_threshold=131072 would save about 40.0 MiB."));
}

TEST_CASE("remedies: a saving below a fifth of the memory is not worth a setting") {
  for (const double megabytes : {22.0, 23.0}) {
    Glibc p;
    p.move(Cause::kRetained, megabytes);
    p.s.ledger.free_memory.top_excess = mega(megabytes);
    p.s.ledger.arena_top_bytes = mega(megabytes);
    REQUIRE(p.names() == (megabytes > 22.5 ? Names{"trim_threshold"} : Names{}));
  }
}

TEST_CASE("remedies: free pieces that large blocks left are a matter of the mmap threshold") {
  Glibc p;
  p.move(Cause::kRetained, 60);
  p.s.ledger.free_memory.large_free = mega(60);
  SiteRow& large = p.add_site(0, 1 << 20);
  large.allocated_bytes.value = 200 * kMega;
  large.allocated_count.value = 200;
  large.at_peak_bytes.value = 60 * kMega;
  REQUIRE(p.names() == Names{"mmap_threshold", "purge"});
  p.rows[0].allocated_count.value = 200'000;  // small blocks left as much
  REQUIRE(p.names() == Names{"purge"});
}

TEST_CASE("remedies: one arena is advised where little was live at one time") {
  Glibc p;
  p.move(Cause::kHoles, 60);
  p.s.ledger.arenas = 12;
  p.s.ledger.free_memory.in_arenas = mega(60);
  p.s.peak = {true, 0, counted(45 * kMega), false};
  REQUIRE(p.names()[0] == "arena_limit");
  REQUIRE(p.s.remedies[0].saving.value == 55 * kMega);
  p.s.peak.bytes = counted(95 * kMega);  // all threads worked at the same time
  REQUIRE(p.names() == Names{"other_backend"});
  REQUIRE(!p.s.remedies[0].predicted);
  REQUIRE(p.s.remedies[0].line == "mallard compare --backends jemalloc,mimalloc -- program --serve");
  p.s.peak = {};
  REQUIRE(p.names() == Names{"arena_limit", "other_backend"});
  REQUIRE(!p.s.remedies[0].predicted);
}

TEST_CASE("remedies: jemalloc's dirty pages, unless a background thread purges them already") {
  Process p;
  p.s.allocator.version = "5.3.0";
  p.move(Cause::kRetained, 60);
  p.judge_it();
  REQUIRE(p.s.remedies.size() == 3);
  REQUIRE(p.s.remedies[0].line == "MALLOC_CONF=background_thread:true");
  const std::string environment("HOME=/x\0MALLOC_CONF=narenas:2,background_thread:true\0", 53);
  p.s.environment = environment;
  p.judge_it();
  REQUIRE(p.s.remedies.size() == 2);
  REQUIRE(p.s.remedies[0].line ==
          "MALLOC_CONF=narenas:2,background_thread:true,dirty_decay_ms:0,muzzy_decay_ms:0");
}

TEST_CASE("remedies: lines are of the version, and are joined with what is set already") {
  Glibc p;
  p.s.allocator.name = "mimalloc";
  p.s.allocator.version = "2.0.9";
  REQUIRE(line_of(p.s, RemedyKind::kPurgeDelay) == "MIMALLOC_DECOMMIT_DELAY=0");
  p.s.allocator.version = "3.1.5";
  REQUIRE(line_of(p.s, RemedyKind::kPurgeDelay) == "MIMALLOC_PURGE_DELAY=0");
  p.s.allocator.name = "jemalloc";
  p.s.allocator.version = "4.5.0";
  p.s.allocator.conf_variable = "_RJEM_MALLOC_CONF";
  REQUIRE(line_of(p.s, RemedyKind::kDecay) == "_RJEM_MALLOC_CONF=decay_time:0");
  REQUIRE(line_of(p.s, RemedyKind::kBackgroundThread).empty());
  p.s.allocator.name = "system";
  p.s.allocator.version = "glibc 2.36";
  const std::string tunables("GLIBC_TUNABLES=glibc.malloc.arena_max=8:glibc.malloc.tcache_count=0\0", 68);
  p.s.environment = tunables;
  REQUIRE(line_of(p.s, RemedyKind::kArenaLimit) ==
          "GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1");
  REQUIRE(line_of(p.s, RemedyKind::kThreadCaches).empty());
  const std::string alias("MALLOC_ARENA_MAX=1\0", 19);
  p.s.environment = alias;
  REQUIRE(line_of(p.s, RemedyKind::kArenaLimit).empty());
  // Others that are longer, or begin in the same way, are not it.
  const std::string others("A_VARIABLE_WITH_A_LONG_NAME=1\0GLIBC_TUNABLES_=glibc.malloc.arena_max=8\0", 70);
  p.s.environment = others;
  REQUIRE(line_of(p.s, RemedyKind::kArenaLimit) == "GLIBC_TUNABLES=glibc.malloc.arena_max=1");
  p.s.environment = alias;
  p.s.reason = Reason::kInspection;
  REQUIRE(line_of(p.s, RemedyKind::kHugePages) == "mallard run --huge-pages off -- program --serve");
}

TEST_CASE("remedies: what mimalloc's threads keep is tried to be purged, the rest is a matter of the delay") {
  Process p;
  p.s.allocator.name = "mimalloc";
  p.s.allocator.version = "2.2.4";
  p.move(Cause::kRetained, 70);
  p.s.ledger.free_memory.kept_pages = mega(30);
  p.judge_it();
  REQUIRE(p.s.remedies.size() == 2);
  REQUIRE(p.s.remedies[0].line == "MIMALLOC_PURGE_DELAY=0");
  REQUIRE(p.s.remedies[0].saving.value == 40 * kMega);
  REQUIRE(p.s.remedies[1].kind == RemedyKind::kPurge);
  REQUIRE(!p.s.remedies[1].predicted);
  REQUIRE(has(p.s.verdict.next_step, "Try it: mallard dump --purge 4711."));
}
