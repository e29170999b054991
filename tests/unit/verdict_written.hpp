// SPDX-License-Identifier: Apache-2.0
// Findings of processes made by hand, written word for word and figure by figure, for the golden files of the
// tests.
#pragma once

#include <functional>
#include <initializer_list>
#include <sstream>

#include "tests/unit/golden.hpp"
#include "tests/unit/made_up_snapshot.hpp"
#include "tests/unit/verdict_varied.hpp"

namespace verdict_written {

using namespace mallard;
using namespace mallard::report;
using made_up::kMega;
using made_up::Process;

inline std::ostringstream g_written;

inline void write(const Finding& f) {
  g_written << facts_of(f.cause).name << ": " << f.title << "\n"
            << f.text << "\nNEXT " << f.next_step << "\n";
  g_written << static_cast<long long>(f.bytes.value) << " bytes, "
            << kConfidences[static_cast<int>(f.confidence)];
  if (!f.owner.empty()) g_written << ", of " << f.owner;
  g_written << "\n";
  for (int i = 0; i < f.evidence_count; ++i)
    g_written << f.evidence[i].name << " " << static_cast<long long>(f.evidence[i].value) << "\n";
  g_written << "sites";
  for (int i = 0; i < f.site_count; ++i) g_written << " " << f.sites[i];
  g_written << "\n";
}

/// The same process, if no library can be preloaded into it: none of its next steps asks for that.
inline void check_steps_without_preload(const std::function<void(Process&)>& prepare, double megabytes) {
  Process p(megabytes);
  prepare(p);
  p.s.allocator.takes_no_preload = true;
  p.judge_it();
  for (const Finding& finding : p.s.findings) {
    INFO(facts_of(finding.cause).name << ": " << finding.next_step);
    for (const char* preloaded : {"mallard run", " ALLOC_", "(ALLOC_", "LD_PRELOAD"})
      CHECK(finding.next_step.find(preloaded) == std::string_view::npos);
    CHECK(!finding.next_step.starts_with(' '));
  }
}

/// Judges a process that `prepare` makes out of one with 100 MB live, and writes all of the verdict.
inline void tell(const char* title, const std::function<void(Process&)>& prepare, double megabytes = 100) {
  check_steps_without_preload(prepare, megabytes);
  verdict_varied::g_varied.add(title, prepare, megabytes);
  Process p(megabytes);
  prepare(p);
  p.judge_it();
  g_written << "== " << title << "\n";
  write(p.s.verdict);
  for (std::size_t i = 1; i < p.s.findings.size(); ++i) {
    g_written << "ALSO ";
    write(p.s.findings[i]);
  }
  for (const Remedy& remedy : p.s.remedies)
    g_written << "REMEDY " << facts_of(remedy.kind).name << ": " << remedy.line << "\n"
              << remedy.why << "\n"
              << static_cast<long long>(remedy.saving.value) << " bytes, from "
              << static_cast<long long>(remedy.saving.low) << " to "
              << static_cast<long long>(remedy.saving.high) << "\n";
  if (!p.s.growth_text.empty()) g_written << "GROWTH " << p.s.growth_text << "\n";
  g_written << "\n";
}

/// Holds all that was told against verdicts_NAME.txt, and what it becomes where figures differ against varied_NAME.txt.
inline void expect_verdicts(const std::string& name) {
  expect_golden(("verdicts_" + name).c_str(), g_written.str());
  expect_golden(("varied_" + name).c_str(), verdict_varied::g_varied.take());
  g_written.str("");
}

inline void set_backend(Process& p, const char* name) { p.s.allocator.name = name; }

}  // namespace verdict_written
