// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/served.hpp"

#include <fmt/format.h>

#include "cli/demangled.hpp"
#include "cli/file.hpp"
#include "cli/report/report_file.hpp"

namespace mallard::cli::compare {
namespace {

bool holds_memory(const report::OtherAllocator& a) {
  return !a.is_managed && a.resident_bytes >= kLeastOfOthers;
}

/// The one that goes on serving inside the program; nullptr where none does.
const report::OtherAllocator* inside_program(const report::Snapshot& s) {
  for (const report::OtherAllocator& a : s.other_allocators.allocators)
    if (a.object == s.process.executable && a.status != report::OtherStatus::kRedirected && holds_memory(a))
      return &a;
  return nullptr;
}

}  // namespace

std::string versioned(const report::OtherAllocator& a) {
  return printable(fmt::format("{}{}{}", a.name, a.version.empty() ? "" : " ", a.version));
}

std::string served_text(const report::Snapshot& s) {
  const report::Allocator& served = s.allocator;
  std::string out = !(served.stepped_aside || served.bypassed) ? allocator_text(s)
                    : served.bypass_owner.empty()              ? "its own allocator"
                                                               : std::string(served.bypass_owner);
  std::string replaced, beside;
  for (const report::OtherAllocator& a : s.other_allocators.allocators)
    if (a.status == report::OtherStatus::kRedirected)
      replaced += (replaced.empty() ? " in the place of " : " and ") + versioned(a);
    else if (holds_memory(a))
      beside += (beside.empty() ? ", beside it " : " and ") + versioned(a) +
                (a.object.empty() ? "" : fmt::format(" inside {}", base_name(a.object)));
  return printable(out + replaced + beside);
}

std::string allocator_inside(const report::Snapshot& s) {
  const report::OtherAllocator* inside = inside_program(s);
  return inside ? versioned(*inside) : "";
}

std::string why_it_goes_on(const report::Snapshot& s) {
  const report::OtherAllocator* inside = inside_program(s);
  if (!inside) return "";
  return printable(fmt::format("{} inside the program goes on serving{}{}", versioned(*inside),
                               inside->why.empty() ? "" : ": ", inside->why));
}

}  // namespace mallard::cli::compare
