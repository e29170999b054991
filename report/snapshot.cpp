// SPDX-License-Identifier: Apache-2.0
#include "report/snapshot.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "report/divide/heap_division.hpp"
#include "report/facts/beside.hpp"
#include "report/facts/cgroup.hpp"
#include "report/facts/environment.hpp"
#include "report/facts/fork_copies.hpp"
#include "report/facts/frames.hpp"
#include "report/facts/kernel.hpp"
#include "report/facts/latency.hpp"
#include "report/facts/other_allocators.hpp"
#include "report/facts/sampled_sites.hpp"
#include "report/judge/checks.hpp"
#include "report/judge/remember.hpp"
#include "report/model/charge.hpp"
#include "report/model/naming.hpp"

namespace mallard::report {
namespace {

/// 2 us for a small block that was sampled.
constexpr std::uint64_t kForkBudgetNs = 50'000'000;

std::string_view read_beside(Arena& arena, const Served& served) noexcept {
  if (!served.beside) return {};
  FixedText<128> text;
  const bool is_glibc = view_of(served.beside->name) == "system";  // its version has the name in it
  if (!is_glibc) text.add(view_of(served.beside->name)).add(' ');
  text.add(view_of(served.beside->version));
  char* copy = arena.array<char>(text.size() + 1);
  if (!copy) return {};
  std::copy(text.view().begin(), text.view().end(), copy);
  return {copy, text.size()};
}

Allocator read_allocator(Arena& arena, const ProcessMemory& process, const Served& served) noexcept {
  Allocator a{};
  a.name = view_of(served.backend->name);
  a.path = view_of(served.backend->path);
  a.requested = process.is_recorded() ? view_of(options().backend) : a.name;
  a.takeover = read_takeover();
  a.beside = read_beside(arena, served);
  a.bypassed = served.bypassed;
  a.takes_no_preload = served.backend->takes_no_preload;
  a.stepped_aside = served.stepped_aside;
  a.bypass_owner = served.bypass_owner;
  a.conf_variable = view_of(served.backend->conf_variable);
  a.version = view_of(served.backend->version);
  // An allocator that does not serve may not even be initialised.
  if (a.bypassed || a.stepped_aside) return a;
  if (served.backend->ask_version) a.version = view_of(served.backend->ask_version());
  if (served.backend->statistics) a.statistic_count = served.backend->statistics(a.statistics);
  return a;
}

/// What single pages and mappings add to the kernel's figures of the whole process.
Charge read_charge(const Memory& memory) noexcept {
  Charge charge = charge_of(memory.after);
  if (!charge.known || !memory.known) return charge;
  const PageUse& use = memory.use;
  if (use.has_smaps) {
    charge.lazily_freed_known = charge.locked_files_known = true;
    charge.locked_files = use.locked_files;
    charge.proportional = use.proportional;
    charge.proportional_why_not = nullptr;
  }
  charge.counts = memory_that_counts(memory.after, charge.locked_files);
  charge.sharing = {};
  charge.sharing_why_not = use.sharing_why_not;
  for (const Region& region : memory.regions.all) {
    if (region.owner == Owner::kKernel) continue;
    charge.sharing.only_ours += region.in_files.only_ours + region.in_no_file.only_ours;
    charge.sharing.with_others += region.in_files.with_others + region.in_no_file.with_others;
  }
  return charge;
}

/// The first report reads whole files, and what it finds in them is kept. It does so before the memory is
/// looked at: nothing must move for long between that and the copy of what was recorded.
void read_files_once(Arena& arena, const Served& served) noexcept {
  static constinit bool is_done = false;  // one report at a time
  elf::Modules modules;
  if (is_done || !modules.read(arena)) return;
  find_bound_elsewhere(arena, served, modules);
  is_done = true;
}

bool out_of_memory(const Snapshot& snapshot) noexcept {
  say::report_failed(snapshot.process.name, "out of memory");
  return false;
}

/// How much of the heap is resident, and what it is for each live byte. Without a ledger an upper bound.
void relate(const ProcessMemory& process, Snapshot* out, const Arena& arena) noexcept {
  const std::uint64_t books =
      process.is_recorded() || out->recording.on ? record::own_bytes() + out->recording.exact.own_bytes : 0;
  out->own_bytes = books + (process.is_own() ? arena.mapped_bytes() : 0);
  const Ledger& ledger = out->ledger;
  const std::uint64_t not_heap = out->rss.lazily_freed + books;
  out->heap_is_bound = !ledger.known;
  out->heap_resident_bytes = ledger.known                    ? ledger.heap_bytes
                             : out->rss.anonymous > not_heap ? out->rss.anonymous - not_heap
                                                             : 0;
  const bool counted = ledger.known && ledger.divided && (ledger.rounding_known || ledger.by_pages);
  Estimate live = counted ? ledger.lines[static_cast<int>(Cause::kLive)].bytes : out->live_bytes;
  if (counted) {
    const Estimate& past = ledger.lines[static_cast<int>(Cause::kPastMallard)].bytes;
    // Their sum is counted: what the one is too high by, the other is too low.
    live.value += past.value;
    live.low = std::min(live.value, live.low + past.high);
    live.high = std::max(live.value, live.high + past.low);
  }
  if (out->heap_resident_bytes == 0 || live.value <= 0) return;
  const auto resident = static_cast<double>(out->heap_resident_bytes);
  Estimate& ratio = out->fragmentation_ratio;
  ratio.value = resident / live.value;
  ratio.has_interval = live.has_interval && live.low > 0;
  if (ratio.has_interval) {
    ratio.low = resident / live.high;
    ratio.high = resident / live.low;
  }
}

/// What is shown is what the JSON report holds, whole numbers: so text written from it is the same.
void round_figures(SiteRow* rows, Snapshot* s) noexcept {
  for (std::uint32_t i = 0; i < s->site_count; ++i)
    for (const FigureFacts& figure : kFigures) round_outward(figure.of(rows[i]));
  for (Estimate* e : {&s->live_bytes, &s->live_count, &s->allocated_bytes, &s->allocated_count,
                      &s->inherited_live_bytes, &s->copied_since_fork, &s->peak.bytes})
    round_outward(*e);
  for (LedgerLine& line : s->ledger.lines) round_outward(line.bytes);
  round_outward(s->ledger.recorded_live_bytes);
  s->ledger.counted_live_bytes = rounded(s->ledger.counted_live_bytes, 1);
  for (const FigureFacts& figure : kFigures) figure.of(s->others) = rounded(figure.of(s->others), 1);
  for (double* figure : {&s->before.live_bytes, &s->before.resident_bytes, &s->before.hole_bytes})
    *figure = rounded(*figure, 1);
  Estimate& ratio = s->fragmentation_ratio;
  for (double* figure : {&ratio.value, &ratio.low, &ratio.high, &s->ledger.examined})
    *figure = rounded(*figure, 1e4);
}

/// Frames and names of all call sites. \return false if memory is out
bool name(Arena& arena, const ProcessMemory& process, const elf::Modules& modules, SiteRow* rows,
          Snapshot* out) noexcept {
  if (!add_frames(arena, modules, rows, out)) return false;
  out->recording.one_frame_sites = static_cast<std::uint32_t>(
      std::count_if(rows, rows + out->site_count, [](const SiteRow& row) { return row.depth == 1; }));
  if (process.is_recorded()) out->wrappers = view_of(options().wrappers);
  name_sites(arena, {rows, out->site_count}, out->wrappers);
  name_sites(arena, out->latency.stacks, out->wrappers);
  return true;
}

void read_about(Arena& arena, const ProcessMemory& process, Snapshot* out) noexcept {
  out->process = read_process_facts(arena, process);
  out->environment = read_environment(arena, process);
  out->can_be_controlled = process.is_recorded() && options().control;
  out->answers_no_signal = options().signal == 0;
}

/// \return whether every block is booked
bool read_mode(const Served& served, Recording* out) noexcept {
  out->exact.on = record::exact_is_on();
  out->exact.own_bytes = record::exact_own_bytes();  // also of books that have ended
  out->on = out->exact.on || record::is_recording();
  out->is_attached = served.is_attached;
  out->why_off = !out->on && served.why_off ? served.why_off() : nullptr;
  return out->exact.on;
}

}  // namespace

bool take_snapshot(Arena& arena, const ProcessMemory& process, const Served& served, Reason reason,
                   Snapshot* out) noexcept {
  const std::uint64_t began = os::monotonic_ns();
  out->mallard_version = view_of(kVersion);
  out->reason = reason;
  if (process.is_own()) read_files_once(arena, served);
  Memory memory;
  read_memory(arena, process, served, &memory);
  elf::Modules modules = memory.regions.modules;
  if (modules.all().empty()) modules.read(arena, process);  // what cannot be read stays without names
  if (served.claim_heaps) served.claim_heaps(arena, &memory);
  if (served.ask_instead) served.ask_instead(claim_beside(arena, served.own_census, served.beside->census, &memory));
  const std::span<BoundElsewhere> bound = find_bound_elsewhere(arena, served, modules);
  out->rss = memory.after;
  out->charge = read_charge(memory);
  out->charge.cgroup = read_cgroup(arena, process);
  read_about(arena, process, out);
  const bool exact = read_mode(served, &out->recording);
  RecordCopy books{};
  if (out->recording.on) {
    out->recording.since_start = exact ? record::exact_since_start() : record::began_with_process();
    out->recording.sample_bytes = record::sampler_mean_bytes();
    const bool read = exact ? copy_exact_record(arena, &books, out) : copy_record(arena, &books, out);
    if (!read) return out_of_memory(*out);
    out->recording.since_ns = os::monotonic_ns() - (exact ? record::exact_since_ns() : record::started_ns());
  }
  account(arena, memory, served, books, bound, &out->recording.exact, &out->before, &out->ledger);
  if (out->recording.on) {
    if (served.look_again) served.look_again();
    out->ledger.freed_samples = record::counters().sampled_frees - out->recording.counters.sampled_frees;
    out->ledger.allocated_meanwhile = exact ? 0 : allocated_since(books);
    if (out->inherited)
      out->copied_since_fork = copied_since_fork(arena, process, books.blocks, record::forked_ns(),
                                                 out->process.parent_pid, kForkBudgetNs);
  }
  out->allocator = read_allocator(arena, process, served);  // right after the heap, which it is held against
  find_other_allocators(arena, served, modules, memory, bound, &out->other_allocators);
  if (process.is_recorded())
    out->allocator.replaced = find_replaced(arena, served, modules, out->other_allocators);
  if (out->ledger.known) {
    // The books ask mincore, which holds pages to be there that were only read, too.
    const auto own = static_cast<std::uint64_t>(out->ledger.lines[static_cast<int>(Cause::kOwn)].bytes.value);
    out->recording.exact.own_bytes = std::min(out->recording.exact.own_bytes, own);
  }
  if (exact && !choose_rows(arena, &books, out)) return out_of_memory(*out);
  SiteRow* rows = nullptr;
  if (out->recording.on) {
    compare_sites(books, out);
    rows = order_sites(books, out);
  }
  if (process.is_recorded() && !copy_latency(arena, &out->latency)) return out_of_memory(*out);
  if (!name(arena, process, modules, rows, out)) return out_of_memory(*out);
  relate(process, out, arena);
  round_figures(rows, out);
  check_figures(out);
  out->duration_ns = os::monotonic_ns() - began;
  return true;
}

}  // namespace mallard::report
