// SPDX-License-Identifier: Apache-2.0
#include "report/probe.hpp"

#include <time.h>

#include <algorithm>

#include "backends/collect.hpp"
#include "base/os.hpp"
#include "report/facts/kernel.hpp"
#include "report/reporter.hpp"

namespace mallard::report {
namespace {

std::uint64_t minus(std::uint64_t a, std::uint64_t b) noexcept { return a > b ? a - b : 0; }

/// What a purge has not reached, where threads collect for themselves. One report at a time.
constinit char g_left[192] = "";

/// Has the other threads collect, and waits a while for those that allocate. \return who has not come by
const char* have_threads_collect() noexcept {
  constexpr int kMostMs = 250, kStepMs = 5;
  backends::Collection& collection = backends::collection;
  const int others = std::max(0, read_thread_count(own_process()) - 1);
  collection.came.store(0);
  collection.asked.fetch_add(1);
  int came = 0;
  for (int ms = 0; ms < kMostMs && came < others; ms += kStepMs) {
    const timespec step{0, kStepMs * 1'000'000};
    os::call(SYS_nanosleep, os::arg(&step));
    came = std::min(static_cast<int>(collection.came.load()), others);
  }
  TextBuffer text(g_left, sizeof g_left);
  text.add("pages of ").add_signed(others - came).add(" of ").add_signed(others);
  text.add(" threads, which give them back themselves when an allocation of theirs is next sampled");
  return g_left;
}

std::uint64_t heap_of(const Rss& rss) noexcept { return minus(rss.anonymous, rss.lazily_freed); }

}  // namespace

Probe purge(const Served& served, bool own_thread) noexcept {
  Probe probe{};
  probe.asked = true;
  const backends::Purge& purge = served.backend->purge;
  probe.call = purge.call;
  probe.leaves = purge.leaves;
  probe.holds = purge.holds;
  if (served.bypassed || served.stepped_aside) {
    probe.why_not = "mallard's backend does not serve this process";
  } else if (!purge.run) {
    probe.why_not = "this allocator offers no call that gives back free pages";
  } else if (!own_thread) {
    probe.why_not = "the process was ending, and its last thread may hold the allocator's locks";
  } else {
    const Rss before = read_rss(own_process());
    const std::uint64_t began = os::monotonic_ns();
    probe.done = purge.run();
    if (probe.done && backends::collection.own) probe.leaves = have_threads_collect();
    probe.duration_ns = os::monotonic_ns() - began;
    const Rss after = read_rss(own_process());
    if (!probe.done) probe.why_not = "the allocator refused";
    probe.rss_before = before.total;
    probe.rss_after = after.total;
    probe.heap_before = heap_of(before);
    probe.heap_after = heap_of(after);
    probe.given_back = minus(probe.heap_before, probe.heap_after);
  }
  return probe;
}

void run_probe(const ProbeRequest& request, const Served& served, Snapshot* s) noexcept {
  s->probe = request.wanted ? purge(served, request.own_thread) : Probe{};
}

}  // namespace mallard::report
