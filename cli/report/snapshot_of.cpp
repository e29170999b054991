// SPDX-License-Identifier: Apache-2.0
#include "cli/report/snapshot_of.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/report/json_members.hpp"

namespace mallard::cli {
namespace {

/// An index into a table of `count` entries.
std::size_t index_of(const Json& j, std::size_t count) {
  if (!j.is_number_unsigned() || j.get<std::uint64_t>() >= count)
    throw Error(kUnreadable,
                fmt::format("the report refers to entry {} of a table with {}", j.dump(), count));
  return j.get<std::size_t>();
}

/// What no report lacks.
void check(const Json& j) {
  for (const char* field :
       {"/process/name", "/process/executable", "/backend/name", "/backend/version", "/recording/mode"})
    static_cast<void>(j.at(Json::json_pointer(field)).get_ref<const std::string&>());
  for (const char* field : {"/process/pid", "/report_number", "/recording/sample_bytes", "/rss/total_bytes"})
    static_cast<void>(j.at(Json::json_pointer(field)).get<double>());
  static_cast<void>(unsigned_of(j, "taken_at_ns"));
}

/// Index of a word in a table of words; `otherwise` where it is of a later version.
template <std::size_t n>
int index_in(const std::string_view (&words)[n], std::string_view word, int otherwise) {
  const auto found = std::find(std::begin(words), std::end(words), word);
  return found == std::end(words) ? otherwise : static_cast<int>(found - std::begin(words));
}

}  // namespace

/// Empty where there is no text.
const std::string& SnapshotOf::text(const Json& object, const char* name) {
  const Json& j = member(object, name);
  return file_.storage.text(j.is_string() ? j.get<std::string>() : std::string());
}

const char* SnapshotOf::text_or_null(const Json& object, const char* name) {
  return member(object, name).is_string() ? text(object, name).c_str() : nullptr;
}

void SnapshotOf::read_frames(const Json& j) {
  Storage& storage = file_.storage;
  std::vector<report::ModuleRow> modules;
  for (const Json& m : j.at("modules"))
    modules.push_back({storage.text(m.at("path").get<std::string>()),
                       storage.text(m.at("build_id").get<std::string>()), address_of(m, "begin"),
                       address_of(m, "end"), address_of(m, "load_bias")});
  s_.modules = storage.list(std::move(modules));
  std::vector<report::Frame> frames;
  for (const Json& f : j.at("frames")) {
    const Json& module = f.at("module");
    const int index = module.is_null() ? -1 : static_cast<int>(index_of(module, s_.modules.size()));
    frames.push_back({address_of(f, "pc"),
                      index,
                      index < 0 ? std::string_view() : s_.modules[static_cast<std::size_t>(index)].path,
                      address_of(f, "address"),
                      storage.text(printable(f.at("function").get<std::string>())),
                      unsigned_of(f, "offset"),
                      {}});
  }
  s_.frames = file_.frames = storage.list(std::move(frames));
}

void SnapshotOf::read_process(const Json& j) {
  const Json &process = member(j, "process"), &rss = member(j, "rss");
  s_.mallard_version = text(j, "mallard_version");
  s_.number = small_number(j, "report_number");
  s_.reason = static_cast<report::Reason>(index_in(report::kReasons, text(j, "reason"), 0));
  s_.duration_ns = number(j, "duration_ns");
  s_.inherited = flag(process, "forked_from_recorded_process");
  s_.process = {small_number(process, "pid"),
                small_number(process, "parent_pid"),
                small_number(process, "threads"),
                text(process, "executable"),
                text(process, "name"),
                text(process, "command_line"),
                number(process, "uptime_ns"),
                number(j, "taken_at_ns")};
  s_.rss = {flag(rss, "known"),
            text(rss, "source") == "smaps_rollup",
            flag(member(j, "memory"), "lazily_freed_known"),
            number(rss, "total_bytes"),
            number(rss, "anonymous_bytes"),
            number(rss, "file_bytes"),
            number(rss, "shared_memory_bytes"),
            number(rss, "lazily_freed_bytes"),
            number(rss, "huge_page_bytes"),
            number(rss, "swapped_bytes"),
            number(rss, "locked_bytes"),
            0,
            number(rss, "peak_bytes")};
  read_charge(j);
  const Json& core = member(j, "core");
  s_.core = {text(core, "path"), number(core, "missing_bytes"), number(core, "left_out_bytes")};
}

void SnapshotOf::read_allocator(const Json& j) {
  const Json &backend = member(j, "backend"), &takeover = member(backend, "takeover");
  report::Allocator& a = s_.allocator;
  a.name = text(backend, "name");
  a.version = text(backend, "version");
  a.path = text(backend, "path");
  a.requested = text(backend, "requested");
  a.bypass_owner = text(backend, "bypassed_by");
  a.replaced = text(backend, "replaced");
  a.beside = text(backend, "beside");
  a.stepped_aside = a.bypass_owner == report::kSanitizer;
  a.bypassed = !a.stepped_aside && member(backend, "bypassed_by").is_string();
  a.takeover = {
      static_cast<report::Takeover::State>(index_in(report::kTakeoverStates, text(takeover, "state"), 0)),
      text(takeover, "allocator"), number(takeover, "entry_points"), text(takeover, "why")};
  for (const auto& [name, bytes] : member(backend, "statistics").items())
    if (a.statistic_count < backends::kMaxStatistics)
      a.statistics[a.statistic_count++] = {file_.storage.text(name).c_str(),
                                           bytes.is_number_integer() ? bytes.get<std::int64_t>() : 0};
}

void SnapshotOf::read_recording(const Json& j) {
  const Json &recording = member(j, "recording"), &stacks = member(recording, "stacks"),
             &exact = member(recording, "exact"), &totals = member(j, "totals");
  const std::string& mode = text(recording, "mode");
  report::Recording& r = s_.recording;
  r.on = mode != "off";
  r.why_off = text_or_null(recording, "why_off");
  r.since_start = flag(recording, "since_start");
  r.is_attached = flag(recording, "attached");
  r.sample_bytes = number(recording, "sample_bytes");
  r.since_ns = number(recording, "since_ns");
  r.exact = {mode == "exact",
             flag(exact, "since_start"),
             {number(exact, "unknown_frees"), number(exact, "missed_frees"), number(exact, "unbooked"),
              number(exact, "unsure_peak_bytes")},
             number(exact, "live_blocks"),
             number(exact, "met_blocks"),
             number(exact, "raced_units"),
             number(exact, "own_bytes")};
  r.counters.sampled = number(recording, "samples");
  r.counters.dropped_full = number(recording, "dropped_table_full");
  r.counters.overflow_sites = number(recording, "overflow_sites");
  r.counters.missed_frees = number(recording, "missed_frees");
  r.counters.reentrant = number(recording, "reentrant_frees");
  r.stacks.captured = number(stacks, "captured");
  r.stacks.truncated = number(stacks, "truncated");
  r.stacks.by_libunwind = number(stacks, "by_libunwind");
  r.stacks.addresses_dropped = number(stacks, "addresses_dropped");
  r.one_frame_sites = static_cast<std::uint32_t>(number(stacks, "one_frame_sites"));
  r.live_samples = static_cast<std::uint32_t>(number(recording, "samples_live"));
  r.sites = static_cast<std::uint32_t>(number(recording, "sites"));
  r.skipped_live = number(recording, "skipped_in_snapshot");
  r.counters.given_back_bytes = number(recording, "given_back_bytes");
  s_.own_bytes = number(recording, "own_bytes");
  s_.wrappers = text(recording, "wrappers");
  s_.live_bytes = estimate(totals, "live_bytes");
  s_.live_count = estimate(totals, "live_count");
  s_.allocated_bytes = estimate(totals, "allocated_bytes");
  s_.allocated_count = estimate(totals, "allocated_count");
  s_.inherited_live_bytes = estimate(totals, "inherited_live_bytes");
  s_.copied_since_fork = estimate(totals, "copied_since_fork_bytes");
  s_.peak_bytes = number(totals, "peak_bytes");
  s_.temporary_count = number(totals, "temporary_count");
  const Json& peak = member(j, "peak");
  s_.peak = {flag(peak, "known"), number(peak, "ago_ns"), estimate(peak, "live_bytes"), flag(peak, "judged")};
  s_.peak_text = text(peak, "text");
  s_.heap_resident_bytes = number(totals, "heap_resident_bytes");
  s_.heap_is_bound = flag(totals, "heap_is_bound");
  s_.fragmentation_ratio = estimate(j, "fragmentation_ratio");
}

void SnapshotOf::read_ledger(const Json& j) {
  const Json& about = member(j, "ledger_about");
  report::Ledger& l = s_.ledger;
  std::vector<report::LedgerDetail> details;
  for (const Json& line : entries(j, "ledger")) {
    file_.ledger.push_back(
        {file_.storage.text(line.at("cause").get<std::string>()), estimate(line, "bytes")});
    const report::CauseFacts* facts = report::find_cause(file_.ledger.back().cause);
    if (!facts) continue;
    const auto cause = static_cast<report::Cause>(facts - report::kCauses);
    l.lines[static_cast<int>(cause)] = {file_.ledger.back().bytes, number(line, "mappings"), sharing(line),
                                        number(line, "dirty_bytes")};
    l.dirty_known = l.dirty_known || member(line, "dirty_bytes").is_number();
    for (const Json& d : entries(line, "details")) {
      const Json& frame = d.at("frame");
      details.push_back({cause, text(d, "name"), text(d, "allocator"), number(d, "bytes"),
                         number(d, "mappings"), 0,
                         frame.is_null() ? nullptr : &s_.frames[index_of(frame, s_.frames.size())],
                         sharing(d), number(d, "dirty_bytes")});
    }
  }
  l.detail_count = static_cast<std::uint32_t>(details.size());
  l.details = file_.storage.list(std::move(details)).data();
  l.known = flag(about, "known");
  l.why_not = text(about, "why_not").c_str();
  l.divided = flag(about, "divided");
  l.not_divided_why = text(about, "not_divided_why").c_str();
  l.by_pages = flag(about, "by_pages");
  l.rounding_known = flag(about, "rounding_known");
  l.unit_name = text(about, "unit").c_str();
  l.method =
      static_cast<report::ResidencyMethod>(index_in(report::kResidencyMethods, text(about, "residency"), 0));
  l.rss_bytes = number(about, "rss_bytes");
  l.rss_before_bytes = number(about, "rss_before_bytes");
  l.rss_after_bytes = number(about, "rss_after_bytes");
  l.pinned_bytes = number(about, "pinned_bytes");
  l.unattributed_bytes = number(about, "unattributed_bytes");
  l.uncovered_blocks = number(about, "uncovered_samples");
  l.live_compared = member(about, "counted_live_bytes").is_number();
  l.counted_live_bytes = decimal(about, "counted_live_bytes");
  l.recorded_live_bytes = estimate(about, "recorded_live_bytes");
  l.huge_bytes = number(about, "heap_huge_page_bytes");
  l.huge_zeros.known = member(about, "huge_zero_bytes").is_number();
  l.huge_zeros.bytes.value = decimal(about, "huge_zero_bytes");
  l.heap_sharing = {number(about, "heap_only_ours_bytes"), number(about, "heap_with_others_bytes")};
  l.thread_cached_bytes = number(about, "thread_cached_bytes");
  l.ownerless_bytes = number(about, "ownerless_bytes");
  l.arena_top_bytes = number(about, "arena_top_bytes");
  l.arenas = static_cast<std::uint32_t>(number(about, "arenas"));
  l.threadless_arenas = static_cast<std::uint32_t>(number(about, "threadless_arenas"));
  l.examined = decimal(about, "examined");
  l.reads = number(about, "reads");
  l.raced = number(about, "raced");
  l.unlogged_mappings = number(about, "unlogged_mappings");
  l.unread_bytes = number(about, "unread_bytes");
  read_free_memory(member(about, "free_memory"));
  read_pins(member(j, "pinned"));
  l.unexplained_bytes = std::llround(std::clamp(decimal(j, "unexplained_bytes"), -9e18, 9e18));
}

void SnapshotOf::read_others(const Json& j) {
  std::vector<report::OtherAllocator> allocators;
  std::vector<report::BoundElsewhere> bound;
  for (const Json& a : entries(j, "embedded_allocators"))
    allocators.push_back(
        {text(a, "object"), text(a, "name"), text(a, "version"), text(a, "recognised_by"),
         flag(a, "managed_heap"), flag(a, "exports_malloc"), false, number(a, "resident_bytes"),
         number(a, "mapped_bytes"), number(a, "brk_bytes"), 0,
         static_cast<report::OtherStatus>(index_in(report::kOtherStatuses, text(a, "status"), 0)),
         text(a, "why"), text(a, "next_step"), number(a, "divided_bytes")});
  for (const Json& b : entries(j, "bound_elsewhere"))
    bound.push_back({text(b, "object"), text(b, "bound_to"),
                     static_cast<std::uint32_t>(number(b, "references")), flag(b, "to_server")});
  s_.other_allocators = {file_.storage.list(std::move(allocators)), file_.storage.list(std::move(bound)),
                         number(j, "nobody_saw_bytes")};
  const Json &others = member(j, "other_sites"), &before = member(j, "before_recording");
  s_.others.sites = static_cast<std::uint32_t>(number(others, "sites"));
  for (const report::FigureFacts& figure : report::kFigures)
    figure.of(s_.others) = decimal(others, std::string(figure.field).c_str());
  s_.before = {decimal(before, "live_bytes"), decimal(before, "resident_bytes"),
               decimal(before, "hole_bytes")};
}

void SnapshotOf::read_checks(const Json& j) {
  for (const Json& check : entries(j, "checks"))
    for (int i = 0; i < report::kCheckCount; ++i)
      if (report::kChecks[i].name == text(check, "name"))
        s_.checks[i] = {
            static_cast<report::CheckState>(index_in(report::kCheckStates, text(check, "state"), 0)),
            decimal(check, "ours"), decimal(check, "theirs"), decimal(check, "tolerance"),
            text(check, "why_not")};
}

report::Finding SnapshotOf::finding(const Json& j) {
  report::Finding f;
  // A cause of a later version is shown by its own words. Reports of schema 1 have the name only.
  const report::VerdictFacts* known = report::find_verdict(text(j, "cause"));
  f.cause = known ? known->cause : report::VerdictCause::kNone;
  f.bytes = estimate(j, "bytes");
  f.confidence = static_cast<report::Confidence>(
      index_in(report::kConfidences, text(j, "confidence"), static_cast<int>(report::Confidence::kInferred)));
  for (const Json& site : entries(j, "sites"))
    if (f.site_count < report::kMaxVerdictSites && site.is_number_unsigned())
      f.sites[f.site_count++] = site.get<std::uint32_t>();
  f.title = text(j, member(j, "title").is_string() ? "title" : "cause");
  f.text = text(j, "text");
  f.next_step = text(j, "next_step");
  return f;
}

void SnapshotOf::read_findings(const Json& j) {
  const Json& verdict = member(j, "verdict");
  file_.verdict = text(verdict, "cause");
  s_.verdict = finding(verdict);
  s_.growth_text = text(member(j, "history"), "growth_text");
  s_.judged_text = text(member(j, "history"), "judged_text");
  std::vector<report::Finding> findings;
  for (const Json& f : entries(j, "findings")) {
    findings.push_back(finding(f));
    file_.findings.push_back(text(f, "cause"));
  }
  const bool has_none = file_.verdict.empty() || s_.verdict.title.empty() ||
                        file_.verdict == report::facts_of(report::VerdictCause::kNone).name;
  if (findings.empty() && !has_none) {  // reports of earlier versions have one
    findings.push_back(s_.verdict);
    file_.findings.push_back(file_.verdict);
  }
  s_.findings = file_.storage.list(std::move(findings));
  if (!s_.findings.empty() && s_.verdict.bytes.value == 0) {  // the first finding, without its bytes
    s_.verdict.bytes = s_.findings.front().bytes;
    s_.verdict.confidence = s_.findings.front().confidence;
  }
}

void SnapshotOf::read_probe(const Json& j) {
  const Json& probe = member(j, "probe");
  s_.probe = {probe.is_object() && !probe.empty(), flag(probe, "done"),
              text(probe, "call").c_str(),         text(probe, "leaves").c_str(),
              text(probe, "holds").c_str(),        text(probe, "why_not").c_str(),
              number(probe, "rss_before_bytes"),   number(probe, "rss_after_bytes"),
              number(probe, "heap_before_bytes"),  number(probe, "heap_after_bytes"),
              number(probe, "given_back_bytes"),   number(probe, "duration_ns")};
}

SnapshotOf::SnapshotOf(const Json& document, ReportFile* report) : file_(*report), s_(report->data) {
  check(document);
  read_frames(document);
  read_process(document);
  read_allocator(document);
  read_recording(document);
  read_ledger(document);
  read_others(document);
  read_checks(document);
  read_probe(document);
  read_lost(document);
  read_latency(document);
  read_findings(document);
  read_remedies(document);
}

std::vector<const report::Frame*> frames_at(const Json& numbers, const ReportFile& report) {
  std::vector<const report::Frame*> stack;
  for (const Json& index : numbers) stack.push_back(&report.frames[index_of(index, report.frames.size())]);
  return stack;
}

std::span<report::SiteRow> read_sites(const Json& document, ReportFile* report) {
  std::vector<report::SiteRow> rows;
  for (const Json& j : document.at("sites")) {
    report::SiteRow& row = rows.emplace_back();
    row.id = static_cast<std::uint32_t>(j.at("id").get<std::int64_t>());
    std::vector<const report::Frame*> stack = frames_at(j.at("stack"), *report);
    row.depth = static_cast<int>(stack.size());
    row.frames = report->storage.list(std::move(stack)).data();
    for (const report::FigureFacts& figure : report::kFigures) {
      const std::string field(figure.field);
      if (!figure.is_exact_only()) figure.of(row) = estimate(j, field);
      else if (member(j, field.c_str()).is_number())
        figure.of(row) = report::counted(decimal(j, field.c_str()));
    }
    row.live_samples = number(j, "live_samples");
    row.largest_bytes = number(j, "largest_bytes");
    row.oldest_ns = number(j, "oldest_ns");
    row.mean_age_ns = number(j, "mean_age_ns");
    std::vector<record::ExactSizes> sizes;
    for (const Json& range : entries(j, "sizes"))
      sizes.push_back({number(range, "from"), number(range, "to"), number(range, "allocated_count"),
                       number(range, "live_count")});
    row.sizes = report->storage.list(std::move(sizes));
  }
  return report->storage.list(std::move(rows));
}

}  // namespace mallard::cli
