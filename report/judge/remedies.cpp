// SPDX-License-Identifier: Apache-2.0
#include "report/judge/remedies.hpp"

#include <algorithm>

#include "report/judge/heap_words.hpp"

namespace mallard::report {
namespace {

using words::Findings;
using words::Words;

/// Blocks of this mean size and more are mapped by themselves, as long as glibc's threshold is not raised.
constexpr double kMappedBytes = static_cast<double>(heaps::FreeMemory::kTrimThreshold);

/// What the books tell of the memory that is free by now.
struct Gone {
  bool known;
  double large_share;  ///< of what was live at the peak and has gone since: blocks of kMappedBytes and more
};

Gone what_has_gone(const Snapshot& s) noexcept {
  double since_peak[2] = {}, ever[2] = {};
  for (const SiteRow& row : std::span(s.sites, s.site_count)) {
    const double count = row.allocated_count.value;
    const bool is_large = count > 0 && row.allocated_bytes.value / count >= kMappedBytes;
    since_peak[is_large] += std::max(0.0, row.at_peak_bytes.value - row.live_bytes.value);
    ever[is_large] += std::max(0.0, row.allocated_bytes.value - row.live_bytes.value);
  }
  const double* parts = since_peak[0] + since_peak[1] >= kLeastSavingBytes ? since_peak : ever;
  const double all = parts[0] + parts[1];
  return {all > 0, all > 0 ? parts[1] / all : 0};
}

Estimate from_to(double value, double low, double high) noexcept { return {value, 0, true, low, high}; }

class Remedies {
 public:
  Remedies(Arena& arena, const Findings& all, Snapshot* s) noexcept
      : arena_(arena), all_(all), s_(*s), found_(arena) {}

  void run() noexcept {
    if (!s_.ledger.known || !words::is_alive(s_) || all_.f.memory < kSmallProcessBytes) return;
    if (s_.ledger.divided && !s_.ledger.by_pages) {
      if (words::serves(s_, "system")) of_glibc();
      else if (words::serves(s_, "jemalloc")) of_jemalloc();
      else if (words::serves(s_, "mimalloc")) of_mimalloc();
      else if (words::serves(s_, "tcmalloc")) of_tcmalloc();
    }
    if (s_.ledger.divided) of_pinned();
    of_huge_pages();
    order();
  }

 private:
  double line(Cause cause) const noexcept { return all_.line(cause).value; }
  double retained() const noexcept { return words::kept_by_server(all_); }
  const heaps::FreeMemory& free_memory() const noexcept { return s_.ledger.free_memory; }

  bool is_enough(const Estimate& saving) const noexcept {
    const double sure = words::surely(saving);
    return sure >= kLeastSavingBytes && sure >= kLeastSavingShare * all_.f.memory;
  }

  /// The figure with what predictions of this kind err, within what there is.
  static Estimate predicted(RemedyKind kind, Estimate saving, double most) noexcept {
    const double error = facts_of(kind).error;
    if (!saving.has_interval) saving = from_to(saving.value, saving.value, saving.value);
    saving.low = std::max(0.0, std::min(saving.low, saving.value) * (1 - error));
    saving.high = std::max(saving.value, std::min(std::max(saving.high, saving.value) * (1 + error), most));
    round_outward(saving);
    return saving;
  }

  void add(Remedy remedy, const TextBuffer& line, const Words& why) noexcept {
    remedy.line = words::kept(arena_, line);
    remedy.why = words::kept(arena_, why);
    found_.add(remedy);
  }

  /// Offers a setting that the allocator has, where it saves enough.
  void offer(RemedyKind kind, const Estimate& saving, double most, const Words& why) noexcept {
    const Estimate figure = predicted(kind, saving, most);
    FixedText<1024> line;
    if (is_enough(figure) && add_setting(s_, kind, line)) add({kind, true, figure, {}, {}, 0}, line, why);
  }

  /// What a snapshot cannot predict: a command that tries it.
  void offer_trial(RemedyKind kind, std::string_view options, const Words& why) noexcept {
    if (s_.allocator.takes_no_preload) return;
    FixedText<1024> line;
    line.add("mallard compare ").add(options).add(" -- ").add(command_to_paste(s_.process));
    add({kind, false, {}, {}, {}, 0}, line, why);
  }

  bool takes_purge() const noexcept {
    return (s_.can_be_controlled && !s_.allocator.takeover.is_observed()) || words::can_be_purged(s_);
  }

  void add_purge_command(TextBuffer& to) const noexcept {
    to.add(s_.can_be_controlled ? "mallard purge " : "mallard dump --purge ").add_signed(s_.process.pid);
  }

  void offer_purge(double bytes, std::string_view call) noexcept {
    const Estimate figure = predicted(RemedyKind::kPurge, counted(bytes), bytes);
    if (!is_enough(figure)) return;
    FixedText<128> line;
    if (takes_purge()) add_purge_command(line);
    else line.add(call);
    Words why;
    why.bytes(bytes).say(" are whole free pages that ").say(call).say(" reaches.");
    add({RemedyKind::kPurge, true, figure, {}, {}, 0}, line, why);
  }

  void of_glibc() noexcept;
  void of_arenas() noexcept;
  void of_jemalloc() noexcept;
  void of_mimalloc() noexcept;
  void of_tcmalloc() noexcept;
  void of_pinned() noexcept;
  void of_huge_pages() noexcept;
  void order() noexcept;

  Arena& arena_;
  const Findings& all_;
  Snapshot& s_;
  Growing<Remedy> found_;
};

void Remedies::of_glibc() noexcept {
  const heaps::FreeMemory& free = free_memory();
  const double kept = retained();
  const double tops = std::min(static_cast<double>(free.top_excess), kept);
  const double large = std::min(static_cast<double>(free.large_free), kept - tops);
  const Gone gone = what_has_gone(s_);
  const double mapped = gone.known ? gone.large_share * large : 0;
  Words why;
  if (tops >= mapped) {
    why.bytes(tops).say(" lie in the tops of arenas, beyond the 128 KiB that each keeps by default: blocks ");
    why.say("that were mapped and freed have raised the threshold (or the program has, by mallopt, which ");
    why.say("overrides the line).");
    offer(RemedyKind::kTrimThreshold, from_to(tops + mapped, tops, tops + large), kept, why);
  } else {
    why.bytes(mapped).say(" of free pieces are what large blocks left in the heap: blocks that were mapped ");
    why.say("and freed have raised the threshold from which on glibc maps one by itself.");
    const double surely_mapped = gone.large_share > 0.5 ? mapped : 0;
    offer(RemedyKind::kMmapThreshold, from_to(tops + mapped, tops + surely_mapped, tops + large), kept, why);
  }
  of_arenas();
  const auto cached = static_cast<double>(free.cached_pages);
  Words caches;
  caches.bytes(static_cast<double>(free.cached)).say(" of free blocks are in thread caches, ");
  caches.bytes(cached).say(" of whole pages among them.");
  offer(RemedyKind::kThreadCaches, counted(cached), static_cast<double>(free.cached), caches);
  offer_purge(std::max(0.0, kept - static_cast<double>(s_.ledger.arena_top_bytes) - cached),
              "malloc_trim(0)");
}

/// With one arena for all, the heap would be about as large as what was live at one time.
void Remedies::of_arenas() noexcept {
  const auto cached = static_cast<double>(free_memory().cached);  // threads would keep it all the same
  const double in_arenas = std::max(0.0, static_cast<double>(free_memory().in_arenas) - cached);
  if (s_.ledger.arenas == 0 || in_arenas <= 0) return;
  Words why;
  why.bytes(in_arenas).say(" of free memory lie in ").count(s_.ledger.arenas);
  why.say(s_.ledger.arenas == 1 ? " arena" : " arenas").say(" beside the main one");
  const double live = line(Cause::kLive);
  if (!s_.peak.known || live <= 0) {
    why.say(": how much was live at one time is not known.");
    if (is_enough(counted(in_arenas)))
      offer_trial(RemedyKind::kArenaLimit, "--try 'one arena: GLIBC_TUNABLES=glibc.malloc.arena_max=1'", why);
    return;
  }
  const double rounding = 1 + line(Cause::kRounding) / live;
  const double peak = std::max(s_.peak.bytes.value, live), most = std::max(s_.peak.bytes.high, peak);
  const double heap = all_.f.heap - cached;
  const double value = std::clamp(heap - peak * rounding, 0.0, in_arenas);
  why.say("; no more than ").bytes(peak).say(" was ever live at one time.");
  offer(RemedyKind::kArenaLimit,
        from_to(value, std::clamp(heap - most * rounding, 0.0, in_arenas), in_arenas), in_arenas, why);
}

void Remedies::of_jemalloc() noexcept {
  const double kept = retained();
  const auto cached = words::cached(all_);
  Words caches;
  caches.bytes(cached).say(" of free blocks are in the caches of ").count(s_.process.threads);
  caches.say(s_.process.threads == 1 ? " thread." : " threads.");
  offer(RemedyKind::kThreadCaches, counted(cached), cached, caches);
  if (kept < kLeastDecayingShare * all_.f.heap) return;
  Words why;
  why.bytes(kept).say(" are free pages; jemalloc gives them back within 10 s, while the program allocates.");
  offer(RemedyKind::kBackgroundThread, counted(kept), kept, why);
  offer(RemedyKind::kDecay, counted(kept), kept, why);
  offer_purge(kept, "mallctl(\"arena.4096.purge\")");
}

void Remedies::of_mimalloc() noexcept {
  const double kept = retained();
  if (kept < kLeastDecayingShare * all_.f.heap) return;
  const double in_heaps = std::min(static_cast<double>(free_memory().kept_pages), kept);
  Words why;
  why.bytes(kept).say(" are free memory that mimalloc keeps, ").bytes(in_heaps);
  why.say(" of it on pages that threads' heaps have not let go.");
  // Which pages threads' heaps have not let go can be told of versions below 3.5 only.
  const double most = kept - in_heaps, least = s_.allocator.version.starts_with("3") ? most / 2 : most;
  offer(RemedyKind::kPurgeDelay, from_to(most, least, most), kept, why);
  if (!takes_purge() || !is_enough(counted(in_heaps))) return;
  // Threads that idle do not come by to give theirs back, and which do is not known beforehand.
  FixedText<128> line;
  add_purge_command(line);
  add({RemedyKind::kPurge, false, {}, {}, {}, 0}, line, why);
}

void Remedies::of_tcmalloc() noexcept {
  const auto cached = words::cached(all_);
  Words caches;
  caches.bytes(cached).say(" of free blocks are in thread caches.");
  offer(RemedyKind::kThreadCaches, counted(cached), cached, caches);
  if (retained() >= kLeastDecayingShare * all_.f.heap)
    offer_purge(retained(), "MallocExtension::ReleaseFreeMemory");
}

/// Holes: a pool where it is known whose blocks have to move, else another allocator.
void Remedies::of_pinned() noexcept {
  if (words::is_unfit(all_)) {
    const double bytes = words::free_bytes(all_);
    Words why;
    why.bytes(bytes).say(" are free memory that new requests do not fit into.");
    return offer(RemedyKind::kOtherBackend, counted(bytes), bytes, why);
  }
  const SiteRow* row = words::largest(s_, &SiteRow::alone_hole_bytes);
  const double holes = line(Cause::kHoles) - words::cached(all_);
  if (row && s_.recording.exact.on) {
    const Estimate figure = predicted(RemedyKind::kPool, row->alone_hole_bytes, holes);
    if (is_enough(figure)) {
      Words text, why;
      text.say("a pool of its own for ");
      words::add_site(text, *row);
      why.bytes(row->alone_hole_bytes.value).say(" are holes that blocks of this call site pin alone.");
      return add({RemedyKind::kPool, true, figure, {}, {}, row->id}, text, why);
    }
  }
  if (!words::reaches_in_heap(counted(holes), kLeastHeapShare, all_.f)) return;
  Words why;
  why.bytes(holes).say(" are holes: how many another allocator would have cannot be read from this heap.");
  const bool is_first = words::serves(s_, "jemalloc");
  offer_trial(RemedyKind::kOtherBackend,
              is_first ? "--backends system,mimalloc" : "--backends jemalloc,mimalloc", why);
}

void Remedies::of_huge_pages() noexcept {
  const HugeZeros& zeros = s_.ledger.huge_zeros;
  if (!zeros.known) return;
  Words why;
  why.bytes(zeros.bytes.value).say(" are parts of huge pages that hold nothing but zeros, of ");
  why.bytes(static_cast<double>(zeros.huge_bytes)).say(" on huge pages.");
  offer(RemedyKind::kHugePages, zeros.bytes, static_cast<double>(zeros.huge_bytes), why);
}

/// The largest saving first, and of about equal ones what lasts; what is not predicted comes last.
void Remedies::order() noexcept {
  const std::span<Remedy> all = found_.all();
  double most = 0;
  for (const Remedy& r : all) most = std::max(most, r.saving.value);
  const auto rank = [most](const Remedy& r) {
    return !r.predicted ? 2 : r.saving.value >= kEqualSavings * most ? 0 : 1;
  };
  std::sort(all.begin(), all.end(), [&rank](const Remedy& a, const Remedy& b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (rank(a) == 0 && facts_of(a.kind).lasts != facts_of(b.kind).lasts) return facts_of(a.kind).lasts;
    if (rank(a) == 1 && a.saving.value != b.saving.value) return a.saving.value > b.saving.value;
    return a.kind < b.kind;
  });
  s_.remedies = all;
}

}  // namespace

void find_remedies(Arena& arena, const words::Findings& all, Snapshot* snapshot) noexcept {
  Remedies(arena, all, snapshot).run();
}

void words::say_remedies(Case& c, std::initializer_list<RemedyKind> kinds) noexcept {
  for (const Remedy& remedy : c.s.remedies) {
    if (std::find(kinds.begin(), kinds.end(), remedy.kind) == kinds.end()) continue;
    if (c.next.size() > 0) c.next.say(" ");
    if (!remedy.predicted) {
      c.next.say("Try it: ").say(remedy.line).say(".");
      continue;
    }
    c.next.say(remedy.line).say(" would save about ").bytes(remedy.saving.value).say(".");
  }
}

}  // namespace mallard::report
