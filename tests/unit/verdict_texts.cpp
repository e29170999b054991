// SPDX-License-Identifier: Apache-2.0
// What a verdict says, word for word and figure by figure, of processes made by hand:
// tests/unit/golden/verdicts*.txt.
#include <functional>
#include <initializer_list>
#include <utility>

#include "tests/unit/verdict_written.hpp"

using namespace verdict_written;

namespace {

/// Gives a row frames with these functions, the leaf first. They live as long as the program.
void set_functions(SiteRow& row, const std::vector<const char*>& functions) {
  auto* pointers = new std::vector<const Frame*>;
  for (const char* function : functions) pointers->push_back(new Frame{0, -1, "", 0, function, 0});
  row.frames = pointers->data();
  row.depth = static_cast<int>(pointers->size());
}

/// Five sites, the third of which has the most of each figure, and the fifth nothing.
void add_sites(Process& p) {
  p.rows.reserve(8);
  for (const double megabytes : {3, 7, 20, 5}) {
    SiteRow& row = p.add_site(megabytes, 200);
    row.hole_bytes.value = megabytes * 2 * kMega;
    row.allocated_bytes.value = megabytes * 5 * kMega;
  }
  p.add_site(0, 200);
  set_functions(p.rows[2],
                {"operator new(unsigned long)", "std::vector<int>::push_back", "keep", "", "serve", "main"});
  set_functions(p.rows[1], {"keep", "handle", "serve", "main"});
  set_functions(p.rows[0], {"malloc_wrapper", "std::sort", "main"});
  set_functions(p.rows[3], {"", "__rust_alloc", "hashbrown::raw"});
}

/// What the first report of the process, 50 s ago, had less of a cause.
void set_change(Process& p, Cause cause, double megabytes) {
  Change& c = p.s.history.since_first;
  c.known = c.causes_known = true;
  c.ago_ns = 50'000'000'000;
  c.causes[static_cast<int>(cause)] = static_cast<std::int64_t>(megabytes * kMega);
}

void add_detail(Process& p, Cause cause, const char* name, const char* allocator, std::uint64_t megabytes) {
  p.details.push_back(
      {.cause = cause, .name = name, .allocator = allocator, .bytes = megabytes << 20, .mappings = 1});
}

}  // namespace

TEST_CASE("verdict texts: nothing unusual") {
  tell(
      "small", [](Process&) {}, 20);
  for (const std::uint64_t peak : {39, 41})
    tell(
        "small, and once larger",
        [peak](Process& p) {
          p.s.rss.total = 20u << 20;
          p.s.rss.peak = peak << 20;
        },
        20);
  tell("all live, no site", [](Process&) {});
  tell("all live, five sites", add_sites);
  tell("half live", [](Process& p) { p.move(Cause::kRounding, 50); });
  tell("no cause dominates", [](Process& p) {
    p.move(Cause::kRounding, 11);
    p.move(Cause::kHoles, 12);
    p.move(Cause::kRetained, 13);
    p.move(Cause::kAnonymous, 14);
    p.move(Cause::kShared, 9);
  });
  tell("no cause dominates, with a file", [](Process& p) {
    p.move(Cause::kRounding, 20);
    p.move(Cause::kRetained, 22);
    p.move(Cause::kFiles, 10);
    p.move(Cause::kShared, 9);
    add_detail(p, Cause::kFiles, "/data", "", 10);
  });
  tell("no ledger", [](Process& p) {
    p.s.ledger.known = false;
    p.s.ledger.why_not = "/proc is empty";
  });
  const auto undivide = [](Process& p) {
    p.s.ledger.divided = false;
    p.s.ledger.not_divided_why = "nobody knows how";
    p.move(Cause::kUndivided, 90);
    p.s.live_bytes = {30 * kMega, 1, true, 20 * kMega, 40 * kMega};
  };
  tell("undivided", undivide);
  tell("undivided, without an interval", [&](Process& p) {
    undivide(p);
    p.s.live_bytes.has_interval = false;
  });
  tell("undivided, all live", [&](Process& p) {
    undivide(p);
    p.s.live_bytes.high = 90 * kMega;
  });
  tell("undivided, exact", [&](Process& p) {
    undivide(p);
    p.s.recording.exact.on = true;
  });
  tell("older than the recording", [](Process& p) {
    add_sites(p);
    p.s.before.live_bytes = 30 * kMega;
    p.s.recording.exact.on = true;
  });
  tell("older than the samples", [](Process& p) {
    add_sites(p);
    p.s.before.live_bytes = 30 * kMega;
  });
  tell("mode off", [](Process& p) { p.s.recording.on = false; });
  for (const double huge : {15.9, 49.9, 50., 60.})
    tell("huge pages", [huge](Process& p) {
      p.s.ledger.huge_bytes = static_cast<std::uint64_t>(huge * kMega);
      p.s.ledger.heap_bytes = huge < 16 ? 1 : 100u << 20;
    });
  expect_verdicts("none.txt");
}

TEST_CASE("verdict texts: growth") {
  const auto in_state = [](Trend::State state, int stretches) {
    return [=](Process& p) {
      p.s.history.live = {state, stretches, 20 * kMega, 1e5, 300 * kMega, 40'000'000'000, 0};
    };
  };
  tell("one report", in_state(Trend::State::kTooFew, 0));
  tell("too little work", in_state(Trend::State::kTooFew, 2));
  tell("too little work, at exit", [&](Process& p) {
    in_state(Trend::State::kTooFew, 2)(p);
    p.s.reason = Reason::kExit;
  });
  tell("flat", in_state(Trend::State::kFlat, 4));
  tell("grew", in_state(Trend::State::kGrew, 2));
  tell("grows, but little", [&](Process& p) { p.grow(p.add_site(60, 200), 7.9); });
  const auto born = [](std::uint64_t seconds) {
    return [=](Process& p) {
      SiteRow& row = p.add_site(60, 200);
      for (Estimate& e : row.history.born) e.value = row.live_bytes.value / 4;
      p.s.recording.since_ns = seconds * 1'000'000'000;
      p.s.history.live.state = Trend::State::kTooFew;
    };
  };
  tell("born evenly, but not for long", born(500));
  tell("leak by births alone", born(700));
  tell("leak of small blocks", [](Process& p) { p.grow(p.add_site(60, 200), 30); });
  tell("leak, then idle", [](Process& p) {
    p.grow(p.add_site(60, 200), 30);
    p.s.history.live.idle_ns = 600'000'000'000;
  });
  tell("leak, at exit", [](Process& p) {
    p.grow(p.add_site(60, 200), 30);
    p.s.reason = Reason::kExit;
  });
  tell("leak, exact", [](Process& p) {
    p.grow(p.add_site(60, 200), 30);
    p.rows[0].history.in_trend.variance = 0;
    p.rows[0].allocated_bytes.value *= 2;
    p.s.recording.exact.on = true;
  });
  tell("leak of one block", [](Process& p) { p.grow(p.add_site(60, 60 * kMega), 30); });
  tell("leak of a hundred chunks", [](Process& p) { p.grow(p.add_site(60, 600 << 10), 40); });
  for (const int blocks : {7, 8})
    tell("leak of growing chunks", [blocks](Process& p) {
      p.grow(p.add_site(60, 60 * kMega / blocks), 40);
      p.rows[0].history.largest_in_first = 10 << 20;
      p.rows[0].largest_bytes = 20 << 20;
    });
  tell("leak of chunks that hardly grow", [](Process& p) {
    p.grow(p.add_site(60, 10 * kMega), 40);
    p.rows[0].history.largest_in_first = 11 << 20;
    p.rows[0].largest_bytes = 20 << 20;
  });
  tell("leak over five sites of one function", [](Process& p) {
    p.rows.reserve(5);
    for (const double megabytes : {6, 12, 8, 14, 10}) p.grow(p.add_site(20, 200), megabytes);
  });
  tell("leak in several functions", [](Process& p) {
    p.rows.reserve(5);
    for (const double megabytes : {9, 12, 8, 11}) p.grow(p.add_site(20, 200), megabytes);
    set_functions(p.rows[0], {"keep_a", "main"});
    set_functions(p.rows[1], {"keep_b", "main"});
    set_functions(p.rows[2], {"keep_c", "main"});
    set_functions(p.rows[3], {"keep_d", "main"});
  });
  tell(
      "leak beside a file and holes",
      [](Process& p) {
        p.move(Cause::kHoles, 70);
        p.s.ledger.rss_bytes += 200u << 20;
        p.set(Cause::kFiles, 200);
        p.details = {{.cause = Cause::kFiles, .name = "/data.mdb", .bytes = 200u << 20}};
        p.grow(p.add_site(60, 200), 30);
      },
      200);
  expect_verdicts("growth.txt");
}

TEST_CASE("verdict texts: causes of the heap") {
  const auto holes = [](Process& p) { p.move(Cause::kHoles, 60); };
  tell("holes", holes);
  tell("holes with sites", [&](Process& p) {
    holes(p);
    add_sites(p);
  });
  tell("holes after a probe", [&](Process& p) {
    holes(p);
    p.s.probe.done = true;
  });
  tell("holes, and no signal asks for a purge", [&](Process& p) {
    holes(p);
    p.s.answers_no_signal = true;
  });
  for (const double older : {39, 41})
    tell("holes around older blocks", [&](Process& p) {
      holes(p);
      add_sites(p);
      p.s.recording.exact.on = true;
      p.s.before.hole_bytes = older * kMega;
      p.s.before.live_bytes = 5 * kMega;
    });
  for (const double change : {15.9, 16., 17., -15.9, -16., -17.})
    tell("holes that have changed", [&](Process& p) {
      holes(p);
      set_change(p, Cause::kHoles, change);
    });
  const auto retained = [](Process& p) { p.move(Cause::kRetained, 60); };
  for (const char* backend : {"jemalloc", "mimalloc", "system", "tcmalloc"})
    tell(backend, [&](Process& p) {
      retained(p);
      add_sites(p);
      set_backend(p, backend);
    });
  for (const std::uint64_t given_back : {47, 48, 49})
    tell("probe of retention", [&](Process& p) {
      retained(p);
      p.s.probe.done = true;
      p.s.probe.given_back = given_back << 20;
      set_change(p, Cause::kRetained, 30);
    });
  tell("retention by pages", [&](Process& p) {
    retained(p);
    p.s.ledger.by_pages = true;
  });
  tell("thread caches beside holes", [&](Process& p) {
    holes(p);
    p.s.process.threads = 100;
    p.s.ledger.thread_cached_bytes = 40u << 20;
  });
  for (const char* backend : {"jemalloc", "system", "mimalloc"})
    tell("thread caches", [&](Process& p) {
      holes(p);
      set_backend(p, backend);
      p.s.process.threads = 100;
      p.s.ledger.thread_cached_bytes = 60u << 20;
    });
  const auto unfit = [](Process& p) {
    p.move(Cause::kHoles, 50);
    p.move(Cause::kRetained, 10);
    p.s.history.heap = {Trend::State::kGrows, 5, 40 * kMega, 1e5, 900 * kMega, 40'000'000'000, 0};
    p.s.history.live.state = Trend::State::kFlat;
  };
  tell("unfit free memory", unfit);
  tell("unfit free memory, glibc", [&](Process& p) {
    unfit(p);
    set_backend(p, "system");
  });
  tell("a heap that grows with live memory", [&](Process& p) {
    unfit(p);
    p.s.history.live.bytes = 21 * kMega;
  });
  tell("rounding", [](Process& p) {
    p.move(Cause::kRounding, 60);
    p.s.ledger.rounding_known = true;
    SiteRow& row = p.add_site(30, 100);
    row.resident_bytes.value = 80 * kMega;
    row.resident_live_bytes.value = 20 * kMega;
  });
  for (const bool bound : {false, true})
    tell("past mallard", [bound](Process& p) {
      static BoundElsewhere plugin{"/lib/plugin.so", "/lib/libc.so.6", 4, true};
      p.move(Cause::kPastMallard, 60);
      if (bound) p.s.other_allocators.bound = {&plugin, 1};
    });
  tell("lazily freed", [](Process& p) {
    p.move(Cause::kLazilyFreed, 60);
    set_change(p, Cause::kLazilyFreed, -20);
  });
  tell("lazily freed by another", [](Process& p) {
    p.move(Cause::kLazilyFreed, 60);
    set_backend(p, "system");
  });
  expect_verdicts("heap.txt");
}

TEST_CASE("verdict texts: causes beside the heap") {
  const auto mapped = [](double files, double shared) {
    return [=](Process& p) {
      p.move(Cause::kFiles, files);
      p.move(Cause::kShared, shared);
      add_detail(p, Cause::kFiles, "/lib/libc.so.6", "", 3);
      add_detail(p, Cause::kFiles, "/var/small.db", "", 1);
      add_detail(p, Cause::kFiles, "/var/large.db", "", static_cast<std::uint64_t>(files) - 4);
      add_detail(p, Cause::kShared, "", "", static_cast<std::uint64_t>(shared));
      set_change(p, Cause::kFiles, 21);
      set_change(p, Cause::kShared, 22);
    };
  };
  tell("files", mapped(50, 10));
  tell("shared memory", mapped(10, 50));
  tell("as much of both", mapped(30, 27));
  tell("private copies of a file", [](Process& p) {
    p.move(Cause::kFileCopies, 60);
    add_detail(p, Cause::kFileCopies, "/lib/libc.so.6", "", 20);
    add_detail(p, Cause::kFileCopies, "/var/large.db", "", 40);
  });
  tell("stacks", [](Process& p) {
    p.move(Cause::kStacks, 60);
    p.s.process.threads = 70;
    set_change(p, Cause::kStacks, 23);
  });
  tell("stacks that are known", [](Process& p) {
    p.move(Cause::kStacks, 60);
    p.s.process.threads = 70;
    p.s.ledger.lines[static_cast<int>(Cause::kStacks)].mappings = 72;
  });
  expect_verdicts("beside.txt");
}

TEST_CASE("verdict texts: a second allocator") {
  std::vector<OtherAllocator> others;
  const auto with = [&](const char* name, const char* allocator) {
    return [&others, name, allocator](Process& p) {
      p.move(Cause::kAnonymous, 60);
      add_detail(p, Cause::kAnonymous, "/lib/other.so", "", 5);
      add_detail(p, Cause::kAnonymous, name, allocator, 50);
      set_change(p, Cause::kAnonymous, 24);
      p.s.charge.lazily_freed_known = true;
      p.s.other_allocators.allocators = others;
    };
  };
  tell("without details, and nobody looked", [](Process& p) { p.move(Cause::kAnonymous, 60); });
  tell("nobody saw it", with("", ""));
  tell("mapped by an object", with("/opt/lib/engine.so", ""));
  tell("mapped by an object with an allocator", with("/opt/lib/engine.so", "jemalloc"));
  tell("named by its mappings", with("", "V8"));
  OtherAllocator engine{};
  engine.object = "/opt/lib/engine.so";
  engine.name = "jemalloc";
  engine.version = "5.3.0";
  engine.resident_bytes = engine.mapped_bytes = 52u << 20;
  engine.next_step = "build it without its own allocator";
  engine.why = "not asked for";
  OtherAllocator managed = engine;
  managed.object = "";
  managed.name = "V8";
  managed.version = "";
  managed.is_managed = true;
  managed.next_step = "set --max-old-space-size";
  managed.resident_bytes = 4u << 20;
  others = {managed, engine};
  tell("known, not asked for", with("/opt/lib/engine.so", "jemalloc"));
  tell("known by its object alone", with("/opt/lib/engine.so", ""));
  std::swap(others[0].resident_bytes, others[1].resident_bytes);
  tell("managed", with("", "V8"));
  std::swap(others[0].resident_bytes, others[1].resident_bytes);
  tell("known by its name alone, elsewhere", with("/opt/lib/another.so", "jemalloc"));
  others[1].status = OtherStatus::kRefused;
  others[1].why = "its calls are inlined";
  tell("refused", with("/opt/lib/engine.so", "jemalloc"));
  others[1].status = OtherStatus::kReported;
  tell("reported", with("/opt/lib/engine.so", "jemalloc"));
  others[1].mapped_bytes = others[1].resident_bytes = 0;
  tell("suspect", with("", ""));
  others[1].status = OtherStatus::kRedirected;
  tell("no suspect", with("", ""));
  expect_verdicts("second_allocator.txt");
}
