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

/// How the findings call what is done.
struct Action {
  EmbeddedAction action;
  const char *possible_id, *refused_id, *option, *done, *does, *works;
};
constexpr Action kActions[] = {
    {EmbeddedAction::kRedirect, "redirectable", "not_redirectable", "ALLOC_EMBEDDED=redirect", "taken over",
     "takes over", "does so, before main"},
    {EmbeddedAction::kObserve, "observable", "not_observable", "ALLOC_EMBEDDED=observe", "observed", "observes",
     "does so: it goes on serving, and its calls are recorded"},
};

void add_forecast(int fd, const Action& how, EmbeddedAction asked, std::vector<Finding>* findings) {
  const auto plan = std::make_unique<inside::TakeoverPlan>();
  inside::plan_takeover(fd, how.action, plan.get());
  const bool is_inside = std::any_of(findings->begin(), findings->end(), is_about_the_inside);
  FixedText<64> what;
  inside::add_kinds(what, *plan);
  const std::string who = what.size() ? std::string(what.view()) : "the allocator inside";
  if (plan->answer == inside::TakeoverAnswer::kNothing || (!is_inside && plan->count == 0)) return;
  if (plan->answer == inside::TakeoverAnswer::kRefused) {
    findings->push_back({how.refused_id, Severity::kNote,
                         fmt::format("cannot have {} {} by {}: {}", who, how.done, how.option, plan->why.view()),
                         std::string(plan->next.view())});
    return;
  }
  const auto entries = std::count_if(plan->entries, plan->entries + plan->count,
                                     [](const inside::TakeoverEntry& e) { return e.displaced > 0; });
  const bool is_asked = asked == how.action;
  for (Finding& f : *findings) {
    if (!is_about_the_inside(f) || (how.action != EmbeddedAction::kRedirect && !is_asked)) continue;
    f.next = fmt::format("{} {} {} ({} entry points)", how.option, how.does, who, entries);
    if (is_asked) f.severity = Severity::kNote;
  }
  findings->push_back({how.possible_id, Severity::kNote,
                       fmt::format("can have {} {}: {} entry points, and nothing in its code is against it", who,
                                   how.done, entries),
                       is_asked ? "" : fmt::format("{} {}", how.option, how.works)});
}

}  // namespace

void add_takeover(const std::string& path, EmbeddedAction asked, std::vector<Finding>* findings) {
  // Where mallard is not even loaded, there is nothing to foretell, nor of a library: only what is in the
  // executable can be taken over or observed.
  const bool is_lost = std::any_of(findings->begin(), findings->end(), [](const Finding& f) {
    return (f.severity == Severity::kAll && f.id != "own_malloc") || f.id == "library";
  });
  const int fd = is_lost ? -1 : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  for (const Action& how : kActions) add_forecast(fd, how, asked, findings);
  close(fd);
}

}  // namespace mallard::cli
