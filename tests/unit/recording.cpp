// SPDX-License-Identifier: Apache-2.0
// What recording as a whole does with blocks that come, go and move, with a pause, and around a fork.
#include "record/record.hpp"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/lock.hpp"
#include "base/os.hpp"
#include "record/mappings.hpp"
#include "record/published.hpp"
#include "record/sampler.hpp"
#include "record/thread_state.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::record;

namespace {

const void* block(std::uintptr_t n) { return reinterpret_cast<const void*>(0x70'0000'0000 + n * 4096); }
[[gnu::noinline]] void allocate(const void* p, std::size_t asked, std::size_t usable) {
  on_alloc(p, asked, usable, MALLARD_CALLER());
}
/// Recording begins, or begins anew with nothing live.
void begin() { REQUIRE(resume(4096)); }

std::vector<LiveBlock> live() {
  std::vector<LiveBlock> all(live_count());
  std::uint32_t n = 0;
  for (std::uint32_t shard = 0; shard < kShards; ++shard)
    n += live_copy_shard(shard, all.data() + n, static_cast<std::uint32_t>(all.size()) - n);
  return all;
}

/// Runs `check` in a forked child, with the handlers of a fork around it. \return its verdict
template <typename Check>
bool in_child(Check check) {
  before_fork();
  const pid_t child = fork();
  if (child == 0) {
    Lock::after_fork_in_child();
    after_fork_in_child();
    _exit(check() ? 0 : 1);
  }
  after_fork_in_parent();
  int status = -1;
  waitpid(child, &status, 0);
  return status == 0;
}

}  // namespace

TEST_CASE("recording: a block is booked with its sizes, weight, time and call site, until it is freed") {
  begin();
  const std::uint64_t before = os::monotonic_ns();
  errno = 5;
  allocate(block(1), 1000, 1016);
  CHECK(errno == 5);
  const std::vector<LiveBlock> blocks = live();
  REQUIRE(blocks.size() == 1);
  CHECK(blocks[0].address == address_of(block(1)));
  CHECK(blocks[0].asked_bytes == 1000);
  CHECK(blocks[0].rounding_bytes == 16);
  CHECK(blocks[0].weight == weight_of(1000));
  CHECK(blocks[0].born_ns >= before);
  CHECK(blocks[0].born_ns <= os::monotonic_ns());
  const SiteSums& sums = site_sums(site(blocks[0].site));
  CHECK(sums.samples.load() == 1);
  CHECK(sums.allocated_bytes.load() == weight_of(1000) * 1000);
  CHECK(counters().sampled == 1);
  CHECK(counters().sampled_frees == 0);
  CHECK(on_free(block(1)));
  CHECK(errno == 5);
  CHECK(live().empty());
  CHECK(counters().sampled_frees == 1);
  CHECK(counters().filter_misses == 0);
  CHECK_FALSE(on_free(block(1)));
  CHECK(counters().sampled_frees == 1);
  CHECK(counters().filter_misses == 1);
}

TEST_CASE("recording: what a backend gives beyond the request is kept as far as it fits") {
  begin();
  allocate(block(1), 100, 90);
  allocate(block(2), 100, 100 + std::size_t{UINT32_MAX} - 1);
  allocate(block(3), 100, 100 + std::size_t{UINT32_MAX} + 7);
  std::vector<std::uint32_t> rounding(4);
  for (const LiveBlock& b : live()) rounding[(b.address - address_of(block(0))) / 4096] = b.rounding_bytes;
  CHECK(rounding[1] == 0);
  CHECK(rounding[2] == UINT32_MAX - 1);
  CHECK(rounding[3] == UINT32_MAX);
}

TEST_CASE("recording: a block that realloc did not move is as it was") {
  begin();
  allocate(block(1), 1000, 1016);
  const LiveBlock before = live().at(0);
  LiveBlock saved;
  REQUIRE(on_move(block(1), &saved));
  CHECK(live().empty());
  CHECK(counters().sampled_frees == 1);
  on_move_failed(saved);
  REQUIRE(live().size() == 1);
  CHECK(live()[0].born_ns == before.born_ns);
  CHECK(live()[0].weight == before.weight);
  CHECK(counters().sampled_frees == 0);
  CHECK_FALSE(on_move(block(2), &saved));
  CHECK(counters().sampled_frees == 0);
}

TEST_CASE("recording: a block whose free was not seen is counted when its address comes again") {
  begin();
  allocate(block(1), 1000, 1016);
  CHECK(counters().missed_frees == 0);
  allocate(block(1), 500, 512);
  CHECK(counters().missed_frees == 1);
  CHECK(counters().dropped_full == 0);
  REQUIRE(live().size() == 1);
  CHECK(live()[0].asked_bytes == 500);
}

TEST_CASE("recording: a handler that interrupted recording changes nothing, and its frees are counted") {
  begin();
  allocate(block(1), 1000, 1016);
  LiveBlock saved = live().at(0);
  {
    InRecording in_recording;
    allocate(block(2), 1000, 1016);
    CHECK_FALSE(on_free(block(1)));
    saved.address = address_of(block(3));
    on_move_failed(saved);
  }
  CHECK(live().size() == 1);
  CHECK(counters().sampled == 1);
  CHECK(counters().sampled_frees == 0);
  CHECK(counters().reentrant == 1);
}

TEST_CASE("recording: after a pause it begins with nothing live and nothing counted") {
  begin();
  allocate(block(1), 1000, 1016);
  allocate(block(1), 1000, 1016);
  on_free(block(2));
  {
    InRecording in_recording;
    on_free(block(1));
  }
  const SiteId id = live().at(0).site;
  const std::uint64_t first_start = started_ns();
  REQUIRE(is_recording());
  record::pause();
  REQUIRE_FALSE(is_recording());
  CHECK_FALSE(on_free(block(1)));
  CHECK(live().size() == 1);
  begin();
  CHECK(is_recording());
  CHECK(live().empty());
  CHECK_FALSE(may_be_tracked(block(1)));
  CHECK(started_ns() > first_start);
  CHECK(forked_ns() == 0);
  CHECK_FALSE(began_with_process());
  const Counters c = counters();
  CHECK(c.sampled + c.sampled_frees + c.dropped_full + c.overflow_sites + c.missed_frees + c.reentrant +
            c.filter_misses ==
        0);
  const SiteSums& sums = site_sums(site(id));
  CHECK(sums.samples.load() == 0);
  CHECK(sums.largest_bytes.load() == 0);
  CHECK(sums.allocated_bytes.load() == 0);
  CHECK(sums.allocated_bytes_variance.load() == 0);
  CHECK(sums.allocated_count.load() == 0);
  CHECK(sums.allocated_count_variance.load() == 0);
}

namespace {

/// What a reader outside of the process finds at an address, by what is published alone.
template <typename T>
T read_at(std::uint64_t address) {
  T value;
  memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}
std::uint64_t row_at(const Published::Rows& rows, std::uint32_t i) {
  return (i < rows.first_count ? rows.first : rows.rest) + std::uint64_t{i} * rows.stride;
}

}  // namespace

TEST_CASE("recording: what is published leads to a live sample, its site, its sums and its stack") {
  begin();
  for (std::uintptr_t n = 100; n < 200; ++n) allocate(block(n), 10, 16);  // beyond the rows of small programs
  allocate(block(1), 1000, 1016);
  const Published& p = mallard_published;
  CHECK(std::string(p.mark) == kPublishedMark);
  CHECK(p.bytes == sizeof(Published));
  CHECK(p.sample_bytes == 4096);
  CHECK(p.bias_bytes == kBiasBytes);
  std::uint64_t found = 0;
  int live_rows = 0;
  for (std::uint32_t i = 1; i < read_at<std::uint32_t>(p.live.used_at); ++i) {
    const std::uint64_t row = row_at(p.live.rows, i), address = read_at<std::uint64_t>(row + p.live.at_address);
    live_rows += address != 0;
    if (address == address_of(block(1))) found = row;
  }
  CHECK(live_rows == 101);
  REQUIRE(found != 0);
  CHECK(read_at<std::uint64_t>(found + p.live.at_asked) == 1000);
  CHECK(read_at<double>(found + p.live.at_weight) == weight_of(1000));
  CHECK(read_at<std::uint64_t>(found + p.live.at_born) >= started_ns());
  const auto id = read_at<std::uint32_t>(found + p.live.at_site);
  REQUIRE(id < read_at<std::uint32_t>(p.sites.count_at));
  const std::uint64_t site_row = row_at(p.sites.rows, id);
  const auto sums_index = read_at<std::uint32_t>(site_row + p.sums.at_row);
  REQUIRE(sums_index != 0);
  REQUIRE(sums_index < read_at<std::uint32_t>(p.sums.count_at));
  const std::uint64_t sums = row_at(p.sums.rows, sums_index);
  const double weight = weight_of(1000);
  CHECK(read_at<double>(sums + p.sums.at_count) == weight);
  CHECK(read_at<double>(sums + p.sums.at_bytes) == weight * 1000);
  CHECK(read_at<double>(sums + p.sums.at_bytes_variance) == weight * (weight - 1) * 1000 * 1000);
  std::uintptr_t pcs[unwind::kMaxDepth];
  const int pcs_written = copy_site_pcs(site(SiteId{id}), pcs, unwind::kMaxDepth);
  std::uint32_t depth = 0;
  for (auto node = read_at<std::uint32_t>(site_row + p.sites.at_node); node != 0 && depth < 1000; ++depth) {
    const std::uint32_t level = node >> p.tree.slot_bits, slot = node & ((1u << p.tree.slot_bits) - 1);
    const auto word = read_at<std::uint64_t>(p.tree.level_at[level] + std::uint64_t{slot} * sizeof(std::uint64_t));
    const std::uint64_t code = word >> p.tree.code_shift & ((1u << p.tree.code_bits) - 1);
    const bool has_rule = code < p.tree.rules;
    const auto pc = read_at<std::uint64_t>(has_rule ? p.tree.rule_rows + code * p.tree.rule_stride
                                                    : p.tree.others + (code - p.tree.rules) * 8);
    REQUIRE(static_cast<int>(depth) < pcs_written);
    CHECK(pc + has_rule == pcs[depth]);
    node = static_cast<std::uint32_t>(word >> p.tree.parent_shift) & ((1u << p.tree.parent_bits) - 1);
  }
  CHECK(depth == site(SiteId{id}).depth.load());
  for (std::uintptr_t n = 100; n < 200; ++n) on_free(block(n));
}

TEST_CASE("recording: its own memory is that of all its tables") {
  begin();
  allocate(block(1), 1000, 1016);
  CHECK(sites_own_bytes() > 0);
  CHECK(live_own_bytes() > 0);
  CHECK(unwind::stacks_own_bytes() > 0);
  CHECK(own_bytes() == mappings_own_bytes() + sites_own_bytes() + live_own_bytes() + unwind::stacks_own_bytes());
}

TEST_CASE("recording: goes on in a forked child, which knows what it has from its parent") {
  begin();
  allocate(block(1), 1000, 1016);
  const std::uint64_t before = os::monotonic_ns();
  CHECK(in_child([before] {
    allocate(block(2), 1000, 1016);
    return is_recording() && live().size() == 2 && on_free(block(1)) && forked_ns() >= before &&
           forked_ns() <= os::monotonic_ns() && mallard_thread.in_recording == 0;
  }));
  CHECK(forked_ns() == 0);
  CHECK(mallard_thread.in_recording == 0);
  CHECK(on_free(block(1)));
}

TEST_CASE("recording: draws other gaps in a forked child than in its parent") {
  begin();
  count(1 << 20);
  decide(1 << 20);
  REQUIRE(mallard_thread.random != 0);
  const std::uint64_t mine = mallard_thread.random;
  CHECK(in_child([mine] { return mallard_thread.random != 0 && mallard_thread.random != mine; }));
  // What it goes on with follows from what it had: children of one id would differ as their parents did.
  CHECK(in_child([] {
    std::uint64_t drawn[2];
    for (std::uint64_t& to : drawn) {
      mallard_thread.random = 77 + static_cast<std::uint64_t>(&to - drawn);
      record::reseed_after_fork();
      to = mallard_thread.random;
    }
    return drawn[0] > 1 && drawn[1] > 1 && drawn[0] != drawn[1];
  }));
  CHECK(mallard_thread.random == mine);
  const std::uint64_t kept = mallard_thread.random;
  mallard_thread.random = 0;  // a thread that has not allocated yet
  CHECK(in_child([] { return mallard_thread.random == 0; }));
  mallard_thread.random = kept;
}

TEST_CASE("recording: ends in a child that a handler forked which had interrupted recording") {
  begin();
  allocate(block(1), 1000, 1016);
  const std::uint64_t before = os::monotonic_ns();
  {
    InRecording in_recording;
    CHECK(in_child([before] {
      --mallard_thread.in_recording;
      mallard_thread.random = 1;
      restart_countdown();
      return !is_recording() && !on_free(block(1)) && mallard_thread.countdown > 1ull << 60 && forked_ns() >= before;
    }));
    CHECK(mallard_thread.in_recording == 1);
  }
  CHECK(is_recording());
  CHECK(on_free(block(1)));
}

TEST_CASE("recording: other threads wait while a fork holds the tables") {
  begin();
  std::atomic<bool> holds{false}, done{false};
  std::thread other([&] {
    while (!holds) std::this_thread::yield();
    allocate(block(1), 1000, 1016);
    done = true;
  });
  before_fork();
  holds = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_FALSE(done);
  after_fork_in_parent();
  other.join();
  CHECK(live().size() == 1);
}

TEST_CASE("recording: mapping waits while a fork holds the mapping log, and nothing is left unlogged") {
  std::atomic<bool> holds{false}, done{false};
  const std::uint64_t unlogged = unlogged_mappings();
  std::thread other([&] {
    while (!holds) std::this_thread::yield();
    on_map(0x900000000, 0x1000, 7);
    done = true;
  });
  mappings_before_fork();
  holds = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const bool waited = !done;
  mappings_after_fork_in_parent();
  other.join();
  CHECK(waited);
  CHECK(mallard_thread.in_mapping_log == 0);
  CHECK_FALSE(mallard_thread.mapping_log_locked_for_fork);
  MappedInterval found{};
  // The other thread gives up after 50 ms, which a busy machine may make of 5.
  CHECK((copy_mappings(0x900000000, &found, 1) == 1 || unlogged_mappings() > unlogged));
  on_unmap(0x900000000, 0x1000, nullptr);
}

TEST_CASE("recording: a mapping within a mapping is not logged, but counted") {
  const std::uint64_t unlogged = unlogged_mappings();
  ++mallard_thread.in_mapping_log;
  on_map(0x910000000, 0x1000, 7);
  --mallard_thread.in_mapping_log;
  CHECK(unlogged_mappings() == unlogged + 1);
  MappedInterval found{};
  CHECK(copy_mappings(0x910000000, &found, 1) == 0);
}
