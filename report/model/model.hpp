// SPDX-License-Identifier: Apache-2.0
// A report as plain data: taken once (snapshot.cpp), then written as text and as JSON from the same values.
// Sizes are bytes, times nanoseconds. Everything points into the report's arena.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "backends/backend.hpp"
#include "base/options.hpp"
#include "heaps/census.hpp"
#include "record/exact/exact.hpp"
#include "record/record.hpp"
#include "report/model/causes.hpp"
#include "report/model/cgroup.hpp"
#include "report/model/checks.hpp"
#include "report/model/estimate.hpp"
#include "report/model/figures.hpp"
#include "report/model/heap_cells.hpp"
#include "report/model/history.hpp"
#include "report/model/huge_zeros.hpp"
#include "report/model/latency.hpp"
#include "report/model/lost.hpp"
#include "report/model/pins.hpp"
#include "report/model/remedy_model.hpp"
#include "report/model/residency_method.hpp"
#include "report/model/verdict_model.hpp"

namespace mallard::report {

inline constexpr int kSchemaVersion = 2;
inline constexpr const char* kVersion = MALLARD_VERSION;

enum class Reason : std::uint8_t {
  kSignal,
  kExit,
  kInspection,  ///< by the command, from outside: nothing was loaded into the process
  kDump,        ///< by the command, from outside, of a process with mallard
};
/// As in JSON, indexed by Reason.
inline constexpr std::string_view kReasons[] = {"signal", "exit", "inspection", "dump"};

struct ProcessFacts {
  int pid, parent_pid, threads;
  std::string_view executable;    ///< path; "(unknown)" if the kernel does not tell
  std::string_view name;          ///< last part of the path under which it was started
  std::string_view command_line;  ///< arguments joined by spaces, cut at 512 bytes
  std::uint64_t uptime_ns;        ///< since the process was made; 0 = unknown
  std::uint64_t taken_at_ns;      ///< CLOCK_REALTIME
  int idle_threads;               ///< of those compared: have not run since the last report; -1 = not told
  int compared_threads;           ///< were there at the last report; mallard's own left out
  std::uint64_t idle_for_ns;      ///< how long ago that report was
};
/// As in JSON, indexed by ResidencyMethod.
inline constexpr std::string_view kResidencyMethods[] = {"pagemap_scan", "pagemap", "smaps", "mincore",
                                                         "none"};

/// The kernel's view. `known` is false where /proc is not readable.
struct Rss {
  bool known;
  /// From smaps_rollup, by a walk over all page tables; otherwise from the kernel's counters in
  /// /proc/self/status, which have no figure for lazily freed memory; huge pages are read by Residency then.
  bool walked;
  bool lazily_freed_known;  ///< walked, or the machine has not lazily freed a hundredth of `anonymous`
  std::uint64_t total, anonymous, file, shared_memory, lazily_freed, huge_pages, swapped, locked;
  std::uint64_t proportional;  ///< PSS; only where `walked`
  std::uint64_t peak;          ///< the most that RSS ever was (VmHWM); 0 = unknown
};

/// What became of ALLOC_EMBEDDED=redirect or =observe.
struct Takeover {
  enum class State : std::uint8_t { kNotAsked, kNothingInside, kTakenOver, kRefused, kObserved };
  State state;
  std::string_view allocator;  ///< "mimalloc and its own malloc"; empty if the file could not be read
  std::uint64_t entry_points;  ///< taken over or observed
  std::string_view why;        ///< a clause, if refused

  /// It serves by itself, and mallard asks it for nothing.
  bool is_observed() const noexcept { return state == State::kObserved; }
};
/// As in JSON, indexed by Takeover::State.
inline constexpr std::string_view kTakeoverStates[] = {"not asked", "nothing inside", "taken over",
                                                       "refused", "observed"};

/// Who owns malloc where mallard stepped aside.
inline constexpr std::string_view kSanitizer = "a sanitizer";
/// Allocator::name where a process was looked at from outside and has none that is known; of the executable's malloc.
inline constexpr std::string_view kNoAllocator = "none", kOwnMalloc = "executable", kGlibcMalloc = "glibc malloc";

struct Allocator {
  std::string_view name, version;
  std::string_view path;           ///< of the object that holds it; empty = inside libmallard.so
  std::string_view conf_variable;  ///< Backend::conf_variable
  std::string_view requested;      ///< ALLOC_BACKEND
  bool bypassed, stepped_aside;
  bool takes_no_preload;  ///< see Backend::takes_no_preload
  std::string_view bypass_owner;
  /// What the program came with, where something else serves: "mimalloc 2.2.4 inside server"; or empty.
  std::string_view replaced;
  std::string_view beside;  ///< serves malloc beside an observed allocator inside the program: "glibc 2.36"; or empty
  Takeover takeover;
  backends::Statistic statistics[backends::kMaxStatistics];
  int statistic_count;
};

/// Exact mode's own part of the recording.
struct ExactRecording {
  bool on;        ///< every block is booked; figures are no estimates
  bool complete;  ///< the books began with the process: no block is older
  record::ExactTrouble trouble;
  std::uint64_t live_blocks;  ///< on the books
  std::uint64_t met_blocks;   ///< of them in memory that the ledger divided
  std::uint64_t raced_units;  ///< pieces of the heap that changed while they were read
  std::uint64_t own_bytes;    ///< memory of these books, also once they have ended
};

struct Recording {
  bool on;
  const char* why_off;  ///< one clause, where that is known; else nullptr
  bool since_start;     ///< the books began with the process; false: blocks may be older
  bool is_attached;     ///< by what `mallard attach` loaded: no variable of mallard's reaches the process
  std::uint64_t sample_bytes;
  std::uint64_t since_ns;  ///< how long the books that this report shows have been kept
  ExactRecording exact;
  record::Counters counters;
  unwind::StackStats stacks;
  std::uint32_t live_samples, sites;
  std::uint32_t one_frame_sites;  ///< of those with a row: only the code that called malloc is known
  std::uint64_t skipped_live;     ///< live samples that came while the snapshot was taken
};

inline Mode mode_of(const Recording& r) noexcept {
  return r.exact.on ? Mode::kExact : r.on ? Mode::kSample : Mode::kOff;
}

/// A line of source that an address belongs to; of inlined calls each has one.
struct SourceLine {
  std::string_view function;  ///< demangled; empty if unknown
  std::string_view file;      ///< as the compiler was given it; empty if unknown
  int line;                   ///< 0 = unknown
  bool inlined;               ///< into the function of the next line
};

/// A return address, symbolized as far as the process itself can. One per address, shared by the stacks.
struct Frame {
  std::uintptr_t pc;
  int module_index;              ///< into Snapshot::modules; -1 = unknown (JIT, unloaded)
  std::string_view module;       ///< path of that object; empty = unknown
  std::uint64_t module_address;  ///< address in the ELF file's terms
  std::string_view function;     ///< demangled; empty = unknown
  std::uint64_t function_offset;
  std::span<const SourceLine> lines;  ///< innermost first; the command's, from debug information; else empty
};

/// A function on the stack of a call site.
struct Naming {
  int frame = 0;
  int line = 0;  ///< of that frame's lines
};

/// A call site. In exact mode the estimates are counts, with no variance; else the figures that only exact
/// mode has are 0. Figures of resident memory are 0 where the heap is not divided.
struct SiteRow : SiteFigures<Estimate> {
  std::uint32_t id;
  const Frame* const* frames;  ///< leaf first
  int depth;
  Naming naming;          ///< the function that names the site (naming.hpp); of the leaf until name_sites()
  Naming naming_by_name;  ///< the same, before thin functions that many sites share were folded
  std::uint64_t samples, live_samples, largest_bytes;
  std::uint64_t oldest_ns, youngest_ns, mean_age_ns;  ///< ages of live samples; mean is by weight
  SiteHistory history;
  std::span<const record::ExactSizes> sizes;  ///< exact mode; else empty
};

/// Sums over the call sites of exact mode that have no row of their own.
struct OtherSites : SiteFigures<double> {
  std::uint32_t sites;
};

/// Blocks that were allocated before recording began: no call site is known. By samples only live_bytes is
/// told.
struct BeforeRecording {
  double live_bytes;  ///< usable and resident
  double resident_bytes, hole_bytes;
};

/// Whether pages are mapped by this process alone. The two add up to the bytes that were looked at: none
/// where the kernel does not tell.
struct Sharing {
  std::uint64_t only_ours, with_others;
};

struct LedgerLine {
  Estimate bytes;          ///< variance 0 and low == high where it is counted, not estimated
  std::uint64_t mappings;  ///< regions behind it; 0 where that says nothing
  Sharing sharing;
  std::uint64_t
      dirty;  ///< of kFiles, where Ledger::dirty_known: to be written back before the kernel takes it
};

/// What the process costs whoever pays for its memory (docs/glossary.md: memory that counts).
struct Charge {
  bool known;                        ///< false: /proc is not readable
  std::uint64_t counts;              ///< anonymous less lazily freed, shared memory, locked pages of files
  bool lazily_freed_known;           ///< false: nobody looked, and `counts` is an upper bound
  std::uint64_t locked_files;        ///< pages of files that mlock keeps in memory
  bool locked_files_known;           ///< false: something is locked, and the kernel was not asked what
  std::uint64_t proportional;        ///< PSS: pages that n processes map count 1/n
  const char* proportional_why_not;  ///< a clause; nullptr where it is known
  Sharing sharing;                   ///< of all resident memory
  const char* sharing_why_not;       ///< a clause, where something resident was not looked at; else nullptr
  CgroupCharge cgroup;
};

/// Name of the detail of kLazilyFreed that is the heap's.
inline constexpr std::string_view kServedHeap = "heap";

/// One owner within a line whose kind is kOwners.
struct LedgerDetail {
  Cause cause;
  std::string_view name;       ///< path or module; "" = unknown
  std::string_view allocator;  ///< recognised in it; or empty
  std::uint64_t bytes, mappings;
  std::uintptr_t mapper;  ///< who called mmap; 0 = nobody saw
  const Frame* frame;     ///< the same, symbolized; nullptr = unknown
  Sharing sharing;
  std::uint64_t dirty;  ///< see LedgerLine::dirty
};

struct Ledger {
  bool known;  ///< false: /proc is not readable; `why_not` says what failed
  const char* why_not;
  bool divided;  ///< the heap's lines are there; otherwise it is one kUndivided line
  const char* not_divided_why;
  /// For want of a census divided by the blocks of the exact books and the pages that they lie on: rounding
  /// and headers are within kHoles, and pages without a block, kRetained, may be metadata.
  bool by_pages;
  const char* unit_name;  ///< what the backend gives back as a whole: "slab", "page of mimalloc" ...
  ResidencyMethod method;
  LedgerLine lines[kCauseCount];  ///< indexed by Cause
  LedgerDetail* details;          ///< by cause, then bytes, largest first
  std::uint32_t detail_count;
  std::uint64_t rss_before_bytes, rss_after_bytes;  ///< Rss::total around the scan
  int looks;                       ///< how often the page tables were read, because the host's memory moved
  std::uint64_t rss_bytes;         ///< between the two, as near to the lines as they let it be
  std::int64_t unexplained_bytes;  ///< rss_bytes - the lines
  std::uint64_t heap_bytes;        ///< lines kLive to kUndivided, less what MADV_FREE has given back
  std::uint64_t huge_bytes;        ///< of heap_bytes and kLazilyFreed: on transparent huge pages
  std::uint64_t thread_cached_bytes;  ///< free blocks in thread caches, of the holes
  std::uint64_t ownerless_bytes;      ///< of the holes: on pages of mimalloc that no thread owns
  std::uint64_t arena_top_bytes;      ///< of kRetained: in the tops of glibc's arenas beside the main one
  std::uint32_t arenas, threadless_arenas;  ///< of glibc, beside the main one; with no thread any more
  heaps::FreeMemory free_memory;            ///< what the allocator that serves keeps, by where it lies
  std::uint64_t reads, raced;               ///< looks into the heap; those that met memory in change
  std::uint64_t unlogged_mappings;          ///< mappings whose owner could not be noted, since the start
  std::uint64_t unread_bytes;               ///< see Residency::unread_bytes()
  std::uint64_t scan_ns, census_ns;
  std::uint64_t pinned_bytes;        ///< pages under live blocks: kLive, kRounding, kHoles and headers
  Pins pins;                         ///< of them, by whose blocks they are
  std::uint64_t unattributed_bytes;  ///< of them: no sample says which site they belong to
  std::uint64_t uncovered_blocks;    ///< samples that the census did not meet
  std::uint64_t freed_samples;       ///< live samples that were freed while the heap was looked at
  double allocated_meanwhile;        ///< bytes allocated in that time, freed or not, by the samples
  bool live_compared;                ///< the two figures below are there
  double counted_live_bytes;     ///< usable bytes in memory that the allocator's own marks hold to be live
  Estimate recorded_live_bytes;  ///< of recorded blocks, measured in the same way
  HeapCells heap_map;            ///< without cells: none
  bool rounding_known;           ///< false: no sample tells requested from usable bytes; kLive counts both
  double examined;               ///< part of the heap whose blocks were looked at, 0 to 1
  bool dirty_known;              ///< the kernel told which pages of files are dirty
  HugeZeros huge_zeros;
  Sharing heap_sharing;  ///< of heap_bytes, which the causes do not divide
};

enum class OtherStatus : std::uint8_t {
  kReported,    ///< goes on beside mallard
  kRedirected,  ///< ALLOC_EMBEDDED=redirect has taken it over
  kRefused,     ///< asked for, and not possible
  kObserved,    ///< it serves, and ALLOC_EMBEDDED=observe has its calls recorded
};
/// As in JSON, indexed by OtherStatus.
inline constexpr std::string_view kOtherStatuses[] = {"reported", "redirected", "refused", "observed"};

/// An allocator in the process that is not the one which mallard serves from.
struct OtherAllocator {
  std::string_view object;   ///< path of what carries it; empty = told by the names of its mappings alone
  std::string_view name;     ///< as the field calls it: "jemalloc"
  std::string_view version;  ///< empty = it does not say
  std::string_view recognised_by;
  bool is_managed;                             ///< the heap of a language's runtime
  bool has_own_malloc;                         ///< exports malloc as well
  bool uses_brk;                               ///< calls sbrk or brk
  std::uint64_t resident_bytes, mapped_bytes;  ///< private anonymous memory that was seen to be mapped by it
  std::uint64_t brk_bytes;  ///< of resident_bytes: its by elimination, as the only one that calls sbrk
  std::uint64_t lazily_freed_bytes;  ///< of resident_bytes: given back by MADV_FREE
  OtherStatus status;
  std::string_view why;        ///< of the status; empty = nothing to add
  std::string_view next_step;  ///< empty = none
  std::uint64_t divided_bytes = 0;  ///< of resident_bytes: in the heap that the ledger divides
};

/// A loaded object whose calls of the malloc family do not all lead to mallard.
struct BoundElsewhere {
  std::string_view object;
  std::string_view bound_to;  ///< path of the object where they lead
  std::uint32_t references;   ///< slots that the loader filled; 0 = its calls need none (-Bsymbolic)
  bool to_server;             ///< they lead to the allocator that serves: mallard does not see all its blocks
};

struct Others {
  std::span<OtherAllocator> allocators;  ///< the largest first
  std::span<BoundElsewhere> bound;
  /// Private anonymous memory that nobody was seen to map: by the loader, libc or a bare system call.
  std::uint64_t nobody_saw_bytes;
};

/// What happened when the allocator was asked to give back its free pages, after everything else was read.
struct Probe {
  bool asked;          ///< by ALLOC_PROBE=purge, or with the request
  bool done;           ///< else `why_not` says why
  const char* call;    ///< what was called
  const char* leaves;  ///< free memory that this call does not reach
  const char* holds;   ///< whom this call makes wait
  const char* why_not;
  std::uint64_t rss_before, rss_after;    ///< of the whole process
  std::uint64_t heap_before, heap_after;  ///< anonymous, less lazily freed
  std::uint64_t given_back;               ///< of the heap
  std::uint64_t duration_ns;
};

/// When most was live, as the books tell it.
struct LivePeak {
  bool known;
  std::uint64_t ago_ns;
  Estimate bytes;  ///< within an eightieth; of exact mode as far as threads had told
  bool is_judged;  ///< the report tells of it: the process ends, or has come down to less than half of it
};

/// The core file that was looked at, in the place of a process.
struct CoreFacts {
  std::string_view path;   ///< empty = there is none: the process ran
  std::uint64_t missing;   ///< bytes cut off at its end
  std::uint64_t left_out;  ///< bytes of mappings that whoever wrote it left out
};

struct ModuleRow {
  std::string_view path, build_id;
  std::uintptr_t begin, end;
  std::uint64_t load_bias;
};

struct Snapshot {
  std::string_view mallard_version;
  std::string_view wrappers;  ///< what name_sites() was given: ALLOC_WRAPPERS
  int number;
  Reason reason;
  ProcessFacts process;
  CoreFacts core;
  Rss rss;
  Charge charge;
  Ledger ledger;
  Allocator allocator;
  Recording recording;
  const SiteRow* sites;  ///< by live bytes, largest first
  std::uint32_t site_count;
  OtherSites others;
  BeforeRecording before;
  std::span<const ModuleRow> modules;
  std::span<const Frame> frames;  ///< each once; stacks and details point into them
  Estimate live_bytes, live_count, allocated_bytes, allocated_count;
  std::uint64_t peak_bytes, temporary_count;  ///< of the whole process; exact mode, else 0
  Estimate inherited_live_bytes;              ///< of live_bytes: allocated by the parent before the fork
  Estimate copied_since_fork;  ///< of it: in memory twice by now; no interval where that is not told
  bool inherited;              ///< the process was forked off a recorded one
  std::uint64_t
      heap_resident_bytes;       ///< of the ledger; without one: anonymous - lazily freed - mallard's own
  bool heap_is_bound;            ///< there was no ledger: the heap is at most that
  std::uint64_t own_bytes;       ///< mallard's own memory: books and this report
  Estimate fragmentation_ratio;  ///< heap resident / live requested and resident; value 0 = unknown
  std::uint64_t duration_ns;     ///< how long taking the snapshot took
  Others other_allocators;       ///< in the process, beside the one that serves it
  Probe probe;                   ///< made after the rest was read
  Latency latency;               ///< how long calls took, where they were timed
  LostBlocks lost;               ///< found from outside, where that was asked for
  History history;               ///< against earlier reports of this process
  Check checks[kCheckCount];     ///< whether the figures above agree, indexed by CheckKind
  std::span<const Finding> findings;  ///< the largest first, harmless ones last
  Verdict verdict;
  std::span<const Remedy> remedies;  ///< best first
  std::string_view environment;      ///< at its start, a NUL behind each variable; not written
  bool can_be_controlled;            ///< ALLOC_CONTROL: `mallard purge` may ask it
  bool answers_no_signal;            ///< attached to, or ALLOC_SIGNAL=none: `mallard dump --purge` is refused
  LivePeak peak;
  std::string_view peak_text;    ///< who held it; empty where it is not judged
  std::string_view growth_text;  ///< what the reports so far tell of growth; empty = nothing recorded
  std::string_view judged_text;  ///< that another allocator is judged than the program came with; or empty
};

}  // namespace mallard::report
