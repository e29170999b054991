// SPDX-License-Identifier: Apache-2.0
#include "cli/check/foretell.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "inside/plan.hpp"

namespace mallard::cli {
namespace {

bool is_about_the_inside(const Finding& f) {
  return f.id == "own_malloc" || f.id == "embedded_allocator" || f.id == "hidden_malloc";
}

}  // namespace

void add_takeover(const std::string& path, bool is_asked, std::vector<Finding>* findings) {
  // Where mallard is not even loaded, there is nothing to foretell, nor of a library: only what is in the
  // executable can be taken over.
  const bool is_lost = std::any_of(findings->begin(), findings->end(), [](const Finding& f) {
    return (f.severity == Severity::kAll && f.id != "own_malloc") || f.id == "library";
  });
  const int fd = is_lost ? -1 : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  const auto plan = std::make_unique<inside::TakeoverPlan>();
  inside::plan_takeover(fd, plan.get());
  close(fd);
  const bool is_inside = std::any_of(findings->begin(), findings->end(), is_about_the_inside);
  FixedText<64> what;
  inside::add_kinds(what, *plan);
  const std::string who = what.size() ? std::string(what.view()) : "the allocator inside";
  if (plan->answer == inside::TakeoverAnswer::kNothing || (!is_inside && plan->count == 0)) return;
  if (plan->answer == inside::TakeoverAnswer::kRefused) {
    findings->push_back(
        {"not_redirectable", Severity::kNote,
         fmt::format("cannot have {} taken over by ALLOC_EMBEDDED=redirect: {}", who, plan->why.view()),
         std::string(plan->next.view())});
    return;
  }
  const std::string next =
      fmt::format("ALLOC_EMBEDDED=redirect takes over {} ({} entry points)", who, plan->count);
  for (Finding& f : *findings) {
    if (!is_about_the_inside(f)) continue;
    f.next = next;
    if (is_asked) f.severity = Severity::kNote;
  }
  findings->push_back(
      {"redirectable", Severity::kNote,
       fmt::format("can have {} taken over: {} entry points, and nothing in its code is against it", who,
                   plan->count),
       is_asked ? "" : "ALLOC_EMBEDDED=redirect does so, before main"});
}

}  // namespace mallard::cli
