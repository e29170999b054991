// SPDX-License-Identifier: Apache-2.0
#include "report/probe.hpp"

#include "base/os.hpp"
#include "report/facts/kernel.hpp"
#include "report/reporter.hpp"

namespace mallard::report {
namespace {

std::uint64_t minus(std::uint64_t a, std::uint64_t b) noexcept { return a > b ? a - b : 0; }

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
