// SPDX-License-Identifier: Apache-2.0
// Findings about the free and the rounded part of the heap.
#include <algorithm>
#include <initializer_list>

#include "report/judge/heap_words.hpp"
#include "report/judge/remedies.hpp"

namespace mallard::report::words {
namespace {

constexpr double kProved = 0.8;  ///< of what the ledger calls retained went back in the purge probe

/// "mimalloc and glibc keep": the verb is that of one allocator, or of several.
void say_allocators(const Snapshot& s, std::string_view verb, Words& to) noexcept {
  to.say(serves(s, "system") ? std::string_view("glibc") : s.allocator.name);
  for (const OtherAllocator& a : s.other_allocators.allocators)
    if (a.divided_bytes > 0) to.say(" and ").say(a.name == kGlibcMalloc ? std::string_view("glibc") : a.name);
  to.say(" ").say(verb).say(of_others(s) > 0 ? "" : "s");
}

/// What a heap may have beyond what ever lived at one time: for headers, rounding and what thread caches
/// keep.
constexpr double kAllowed = 1.25;

/// Free memory without that in arenas of single threads: what is free there is no use to others, whether
/// their requests would fit or not. \param arenas  so many beside the main one, and more, divide the heap so
double free_for_all(const Findings& all, std::uint32_t arenas) noexcept {
  const Ledger& l = all.s.ledger;
  const auto apart = l.arenas >= arenas ? static_cast<double>(l.free_memory.in_arenas) : 0.0;
  return free_bytes(all) - std::max(apart, in_arena_tops(all).value);
}

/// glibc's heap is larger than all blocks that ever lived at one time would need: what is free was no use to
/// later requests.
bool exceeds_what_ever_lived(const Findings& all) noexcept {
  const double peak = static_cast<double>(all.s.peak_bytes) + all.s.before.live_bytes;
  const double rounding = all.line(Cause::kRounding).value + all.line(Cause::kMetadata).value;
  const double unused = std::min(free_for_all(all, 1), all.f.heap - kAllowed * (peak + rounding));
  return serves(all.s, "system") && all.s.recording.exact.on && all.s.recording.exact.complete && peak > 0 &&
         reaches_in_heap(counted(unused), kLeastHeapShare, all.f);
}

/// More may have lived between two reports than at either: a garbage collector's heap is largest before it
/// collects.
bool has_lived_at_one_time(const Findings& all) noexcept {
  const LivePeak& peak = all.s.peak;
  const double rounding = all.line(Cause::kRounding).value + all.line(Cause::kMetadata).value;
  return peak.known && all.f.heap <= kAllowed * (peak.bytes.value + all.s.before.live_bytes + rounding);
}

/// The heap grows with the work while live memory does not: what is free is not used again.
bool grows_while_live_does_not(const Findings& all) noexcept {
  const History& h = all.s.history;
  return h.heap.state == Trend::State::kGrows && h.live.state != Trend::State::kGrows &&
         h.live.bytes < h.heap.bytes / 2 && h.heap.bytes >= kLeastGrowthFinding &&
         !has_lived_at_one_time(all) &&
         reaches_in_heap(counted(free_for_all(all, 2)), kLeastHeapShare, all.f);
}

void say_next_of_retention(const Findings& all, Case& c) noexcept {
  if (kept_by_glibc_beside(all) >= kWorthSaying) c.next.say("glibc keeps its pages until malloc_trim. ");
  if (of_others(c.s) > 0 && kept_by_server(all) < kWorthSaying) return;
  if (serves(c.s, "jemalloc"))
    c.next.say(is_alive(c.s) ? "Ask again in 20 s: " : "")
        .say("jemalloc gives dirty pages back within 10 s (dirty_decay_ms) while the program allocates.");
  else if (serves(c.s, "mimalloc"))
    c.next.say(is_alive(c.s) ? "Ask again in some seconds, while the program allocates. " : "")
        .say("Pages of threads that are idle or have ended stay.");
  else if (serves(c.s, "system"))
    c.next.say(
        "glibc keeps them until malloc_trim. It trims by itself only the top of an arena, above a threshold "
        "that grows with the largest block freed.");
  say_remedies(
      c, {RemedyKind::kTrimThreshold, RemedyKind::kMmapThreshold, RemedyKind::kArenaLimit,
          RemedyKind::kBackgroundThread, RemedyKind::kDecay, RemedyKind::kPurgeDelay, RemedyKind::kPurge});
}

bool is_advised(const Snapshot& s, RemedyKind kind) noexcept {
  return std::any_of(s.remedies.begin(), s.remedies.end(),
                     [kind](const Remedy& r) { return r.kind == kind; });
}

}  // namespace

bool serves(const Snapshot& s, std::string_view backend) noexcept { return s.allocator.name == backend; }

double cached(const Findings& all) noexcept {
  return std::min(static_cast<double>(all.s.ledger.thread_cached_bytes), all.line(Cause::kHoles).value);
}

Estimate less(Estimate e, double bytes) noexcept {
  for (double* figure : {&e.value, &e.low, &e.high}) *figure = std::max(0.0, *figure - bytes);
  return e;
}

double free_bytes(const Findings& all) noexcept {
  const bool decays = serves(all.s, "jemalloc") || serves(all.s, "mimalloc");
  return all.line(Cause::kHoles).value - cached(all) + (decays ? 0 : all.line(Cause::kRetained).value);
}

double of_others(const Snapshot& s) noexcept {
  double bytes = 0;
  for (const OtherAllocator& a : s.other_allocators.allocators) bytes += static_cast<double>(a.divided_bytes);
  return bytes;
}

double kept_by_glibc_beside(const Findings& all) noexcept {
  const Ledger& l = all.s.ledger;
  if (of_others(all.s) == 0) return 0;
  const auto kept = static_cast<double>(l.free_memory.main_top + l.free_memory.large_free + l.arena_top_bytes);
  return std::min(kept, all.line(Cause::kRetained).value);
}

double kept_by_server(const Findings& all) noexcept {
  const double kept = all.line(Cause::kRetained).value - kept_by_glibc_beside(all);
  const double others = of_others(all.s);
  return others > 0 ? std::max(0.0, std::min(kept, static_cast<double>(all.s.ledger.heap_bytes) - others)) : kept;
}

bool is_unfit(const Findings& all) noexcept {
  return !has_arena_tops(all) && (grows_while_live_does_not(all) || exceeds_what_ever_lived(all));
}

void say_purge(Case& c) noexcept {
  const Probe& p = c.s.probe;
  if (!can_be_purged(c.s)) return;
  if (!p.done) return say_next(c, " mallard dump --purge PID shows how much of it a purge gives back.");
  c.text.say(" The purge probe gave back ").bytes(static_cast<double>(p.given_back)).say(".");
  c.evidence("given_back_bytes", static_cast<double>(p.given_back));
}

void say_idle_threads(Case& c) noexcept {
  const ProcessFacts& p = c.s.process;
  if (p.idle_threads <= 0) return;
  c.text.say(" ").count(p.idle_threads).say(" of ").count(p.compared_threads);
  c.text.say(" threads have not run since the last report, ").time(p.idle_for_ns).say(" ago.");
  c.evidence("idle_threads", p.idle_threads);
}

namespace {

/// glibc: whole pages without a live block that only blocks in thread caches keep from a trim; 0 where they
/// are few.
double cached_pages(const Findings& all) noexcept {
  if (!serves(all.s, "system")) return 0;
  const double rest = all.line(Cause::kRetained).value - in_arena_tops(all).value;
  const double pages = std::min(static_cast<double>(all.s.ledger.free_memory.cached_pages), rest);
  return reaches_in_heap(counted(pages), kLeastHeapShare, all.f) ? pages : 0;
}

}  // namespace

void find_thread_caches(Findings& all) noexcept {
  const Estimate bytes = counted(cached(all) + cached_pages(all));
  if (!reaches_in_heap(bytes, kLeastHeapShare, all.f)) return;
  Case c = all.open(VerdictCause::kThreadCaches, bytes);
  say_part(c, "thread_cached_bytes");
  c.text.say("are free blocks in the caches of ")
      .count(c.s.process.threads)
      .say(c.s.process.threads == 1 ? " thread" : " threads")
      .say(": freed by the program, and kept by the thread that freed them for its own next requests.");
  c.evidence("threads", c.s.process.threads);
  say_idle_threads(c);
  if (serves(c.s, "jemalloc"))
    c.next.say(
        "Threads that are about to idle can flush theirs (thread.tcache.flush). A purge does not reach "
        "them.");
  else if (serves(c.s, "system")) c.next.say("A purge does not reach them.");
  else c.next.say("Use fewer threads, or end those that idle.");
  say_remedies(c, {RemedyKind::kThreadCaches});
  all.add(c);
}

void find_unfit_free(Findings& all) noexcept {
  if (!is_unfit(all)) return;
  const Trend& heap = all.s.history.heap;
  Case c = all.open(VerdictCause::kUnfitFree, counted(free_bytes(all)), Confidence::kInferred);
  say_part(c, "free_bytes");
  c.text.say("are free memory that new requests do not fit into: ");
  if (grows_while_live_does_not(all)) {
    c.text.say("the heap grew by ").bytes(heap.bytes).say(" within ").time(heap.ago_ns);
    c.text.say(", evenly over at least three stretches of work, while live memory did not grow so.");
    c.evidence("heap_growth", heap.bytes);
  } else {
    const auto peak = static_cast<double>(c.s.peak_bytes);
    c.text.say("the heap has ").bytes(c.f.heap).say(" in memory, and no more than ").bytes(peak);
    c.text.say(" ever lived at one time.");
    c.evidence("heap_bytes", c.f.heap);
    c.evidence("peak_bytes", peak);
  }
  c.text.say(" Holes are ").bytes(all.line(Cause::kHoles).value).say(", free pages ");
  c.text.bytes(all.line(Cause::kRetained).value).say(".");
  c.evidence("holes_bytes", all.line(Cause::kHoles).value);
  c.evidence("retained_bytes", all.line(Cause::kRetained).value);
  look_at_largest(c, &SiteRow::allocated_bytes);
  if (serves(c.s, "system"))
    c.next.say(
        "glibc before 2.38 does not use the pieces again that aligned requests (posix_memalign, "
        "aligned_alloc) "
        "leave: align less.");
  else say_try_another(c);
  say_remedies(c, {RemedyKind::kOtherBackend});
  say_purge(c);
  all.add(c);
}

/// With few reports a heap that grew cannot be told from one that a burst left behind.
void say_it_may_not_fit(Case& c) noexcept {
  const Trend &heap = c.s.history.heap, &live = c.s.history.live;
  if (!serves(c.s, "system") || heap.state != Trend::State::kGrew || heap.bytes < kLeastGrowthFinding ||
      live.bytes > heap.bytes / 2)
    return;
  c.finding.title = "retention, or free memory that requests do not fit into: not told yet";
  c.text.say(" The heap grew by ").bytes(heap.bytes).say(" within ").time(heap.ago_ns);
  c.text.say(
      " while live memory did not grow so: if it goes on, new requests do not fit into what is free (glibc "
      "before 2.38 does not use again what aligned requests leave).");
  c.evidence("heap_growth", heap.bytes);
}

void find_retention(Findings& all) noexcept {
  const Estimate retained = less(all.line(Cause::kRetained),
                                 (has_arena_tops(all) ? in_arena_tops(all).value : 0) + cached_pages(all));
  if (is_unfit(all) || !reaches_in_heap(retained, kLeastRetentionShare, all.f)) return;
  const Probe& p = all.s.probe;
  const bool proved = p.done && static_cast<double>(p.given_back) >= kProved * retained.value;
  Case c = all.open(VerdictCause::kRetention, retained, proved ? Confidence::kProved : Confidence::kCounted);
  say_part(c, "retained_bytes");
  c.text.say(c.s.ledger.by_pages ? "are pages without a live block, free or metadata, that "
                                 : "are free pages that ");
  say_allocators(c.s, "keep", c.text);
  c.text.say(" for later; no live block pins them.");
  if (const double beside = kept_by_glibc_beside(all); beside >= kWorthSaying)
    c.text.say(" Of them, ").bytes(beside).say(" and more are glibc's.");
  c.evidence("live_bytes", all.line(Cause::kLive).value);
  if (const double tops = in_arena_tops(all).value; !has_arena_tops(all) && tops >= kWorthSaying) {
    c.text.say(" Of them, ").bytes(tops).say(" are at the tops of ").count(all.s.ledger.arenas);
    c.text.say(" arenas beside the main one, where malloc_trim does not reach them.");
    c.evidence("arena_top_bytes", tops);
  }
  if (all.s.ledger.threadless_arenas > 0) {
    c.text.say(" ").count(all.s.ledger.threadless_arenas).say(" of ").count(all.s.ledger.arenas);
    c.text.say(
        " arenas beside the main one have no thread any more: what is free there waits for new threads.");
    c.evidence("threadless_arenas", all.s.ledger.threadless_arenas);
  }
  say_changed(c, Cause::kRetained);
  if (p.done) {
    c.evidence("given_back_bytes", static_cast<double>(p.given_back));
    c.text.say(" The purge probe ").say(proved ? "proved it: " : "gave back ");
    c.text.bytes(static_cast<double>(p.given_back)).say(proved ? " went back." : ".");
  }
  say_it_may_not_fit(c);
  if (c.s.reason == Reason::kInspection)
    c.text.say(" Whether the program is about to use them again, one look does not tell.");
  look_at_largest(c, &SiteRow::allocated_bytes);
  say_next_of_retention(all, c);
  if (!p.done && can_be_purged(c.s) && !is_advised(c.s, RemedyKind::kPurge))
    say_next(c, " To prove it: mallard dump --purge PID.");
  all.add(c);
}

void find_rounding(Findings& all) noexcept {
  const Estimate& rounding = all.line(Cause::kRounding);
  if (!all.s.ledger.rounding_known || !reaches_in_heap(rounding, kLeastHeapShare, all.f)) return;
  Case c = all.open(VerdictCause::kRounding, rounding, how_known(rounding));
  say_part(c, "rounding_bytes");
  c.text.say("are rounding: the program asked for ")
      .bytes(all.line(Cause::kLive).value)
      .say(" in memory, and ");
  say_allocators(c.s, "hand", c.text);
  c.text.say(" out blocks of the next size class, or of the alignment that was asked for.");
  c.evidence("live_bytes", all.line(Cause::kLive).value);
  say_changed(c, Cause::kRounding);
  const SiteRow* most = nullptr;
  const auto of = [](const SiteRow& r) {
    return r.resident_bytes.value - r.resident_live_bytes.value - r.hole_bytes.value;
  };
  for (const SiteRow& row : std::span(c.s.sites, c.s.site_count))
    if (of(row) > 0 && (!most || of(row) > of(*most))) most = &row;
  if (most) {
    c.text.say(" The largest part is at ");
    add_site(c.text, *most);
    c.text.say(": ").bytes(of(*most)).say(".");
    c.look_at(*most);
  }
  c.next.say(
      "Ask for sizes that fill a size class, or for less alignment; small blocks can be kept in arrays.");
  all.add(c);
}

void find_past_mallard(Findings& all) noexcept {
  const Estimate& past = all.line(Cause::kPastMallard);
  if (!reaches_in_heap(past, kLeastHeapShare, all.f)) return;
  Case c = all.open(VerdictCause::kPastMallard, past, how_known(past));
  say_part(c, "past_mallard_bytes");
  c.text.say("are live blocks that were not allocated by way of mallard: no call site is known of them.");
  const auto& bound = all.s.other_allocators.bound;
  const auto server =
      std::find_if(bound.begin(), bound.end(), [](const BoundElsewhere& b) { return b.to_server; });
  if (server != bound.end()) {
    c.text.say(" ").say(file_name_of(server->object)).say(" calls the allocator directly.");
    c.finding.owner = server->object;
    c.next.say(
        "Load that object without RTLD_DEEPBIND, or relink it without -Bsymbolic, to see who they are.");
  }
  say_changed(c, Cause::kPastMallard);
  all.add(c);
}

}  // namespace mallard::report::words
