// SPDX-License-Identifier: Apache-2.0
#include "inside/take_over.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "arch/code.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "inside/outcome.hpp"
#include "inside/plan.hpp"
#include "inside/program_code.hpp"

namespace mallard::inside {
namespace {

using arch::kStubBytes;

template <std::size_t n>
void copy_text(char (&to)[n], std::string_view text) noexcept {
  TextBuffer(to, n).add(text);
}

bool redirect(TakeoverPlan& plan, FindAnswer find_answer) noexcept {
  ProgramCode program(plan);
  NewCode code;
  const auto write = [&]() noexcept {
    for (std::size_t i = 0; i < plan.count; ++i) {
      const void* to = find_answer(plan.entries[i].target);
      if (!to) return program.refuse("libmallard.so has no function for one of its entry points");
      arch::write_stub(code.at(i * kStubBytes), to, plan.entries[i].drops_first);
    }
    return true;
  };
  const auto lead = [&]() noexcept {
    for (std::size_t i = 0; i < plan.count; ++i)
      program.write_jump(plan.entries[i], address_of(code.at(i * kStubBytes)));
  };
  return change(program, code, plan.count * kStubBytes, write, lead);
}

/// \param change  puts a plan into force
template <typename Change>
bool try_it(EmbeddedAction action, Change change) noexcept {
  TakeoverOutcome outcome;
  const TakeoverState done =
      action == EmbeddedAction::kObserve ? TakeoverState::kObserved : TakeoverState::kTakenOver;
  // Too large for the stack of whoever calls malloc first.
  auto* plan = static_cast<TakeoverPlan*>(os::map(sizeof(TakeoverPlan)));
  const long fd = os::open("/proc/self/exe", O_RDONLY);
  if (!plan || fd < 0) {
    outcome.state = TakeoverState::kRefused;
    copy_text(outcome.why, "its file cannot be opened (/proc/self/exe)");
    say::not_taken_over({}, done == TakeoverState::kObserved, view_of(outcome.why), "mount /proc");
  } else {
    plan = new (plan) TakeoverPlan;
    plan_takeover(static_cast<int>(fd), action, plan);
    const bool taken = plan->answer == TakeoverAnswer::kPossible && change(*plan);
    outcome.state = taken                                      ? done
                    : plan->answer == TakeoverAnswer::kNothing ? TakeoverState::kNothingInside
                                                               : TakeoverState::kRefused;
    FixedText<sizeof outcome.what> what;
    add_kinds(what, *plan);
    copy_text(outcome.what, what.view());
    if (taken) {
      outcome.entry_points = static_cast<std::size_t>(std::count_if(
          plan->entries, plan->entries + plan->count, [](const TakeoverEntry& e) noexcept { return e.displaced > 0; }));
      if (options().verbose)
        say::taken_over(what.view(), done == TakeoverState::kObserved, outcome.entry_points);
    } else if (outcome.state == TakeoverState::kRefused) {
      copy_text(outcome.why, plan->why.view());
      say::not_taken_over(what.view(), done == TakeoverState::kObserved, plan->why.view(), plan->next.view());
    }
  }
  if (fd >= 0) os::close(static_cast<int>(fd));
  if (plan) os::unmap(plan, sizeof(TakeoverPlan));
  set_takeover_outcome(outcome);
  return outcome.state == done;
}

}  // namespace

bool take_over(FindAnswer find_answer) noexcept {
  return try_it(EmbeddedAction::kRedirect,
                [find_answer](TakeoverPlan& plan) noexcept { return redirect(plan, find_answer); });
}

bool observe(const Watchers& watchers) noexcept {
  return try_it(EmbeddedAction::kObserve,
                [&watchers](TakeoverPlan& plan) noexcept { return observe_planned(plan, watchers); });
}

}  // namespace mallard::inside
