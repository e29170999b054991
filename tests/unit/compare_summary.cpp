// SPDX-License-Identifier: Apache-2.0
// What the runs of a comparison say together: medians, noise, the best candidate and its words.
#include "cli/compare/summary.hpp"

#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace mallard::cli::compare;

namespace {

/// A candidate of a server, by its resident bytes after idling and its CPU seconds in each run.
Row row(const char* name, std::vector<double> mebibytes, double cpu = 1) {
  Row out;
  out.candidate.name = name;
  for (const double m : mebibytes) {
    Trial t;
    t.after_idle_bytes = t.peak_bytes = m * (1 << 20);
    t.cpu_seconds = cpu;
    t.wall_seconds = 2;
    out.trials.push_back(t);
  }
  return out;
}

Plan server() {
  Plan plan;
  plan.load = "true";
  return plan;
}

}  // namespace

TEST_CASE("compare: figures of several runs") {
  CHECK_FALSE(figure_of({}).known);
  const Figure odd = figure_of({3, 1, 2});
  CHECK((odd.known && odd.median == 2 && odd.least == 1 && odd.most == 3));
  CHECK(figure_of({1, 2, 3, 10}).median == 2.5);
}

TEST_CASE("compare: noise is what the runs scatter") {
  const Figure calm = figure_of({100, 100, 101}), wild = figure_of({80, 100, 120});
  CHECK(difference(calm, figure_of({90, 91, 91})) == Difference::kLess);
  CHECK(difference(calm, figure_of({110, 110, 111})) == Difference::kMore);
  CHECK(difference(calm, figure_of({101, 101.5, 101.9})) == Difference::kEqual);  // below 2 %
  CHECK(difference(wild, figure_of({90, 91, 91})) == Difference::kEqual);
  CHECK(difference(wild, figure_of({40, 41, 42})) == Difference::kLess);
  CHECK(difference(calm, Figure{}) == Difference::kEqual);
  // One run tells no scatter.
  CHECK(difference(figure_of({100}), figure_of({92})) == Difference::kEqual);
  CHECK(difference(figure_of({100}), figure_of({88})) == Difference::kLess);
}

TEST_CASE("compare: the least resident candidate is advised with what it costs") {
  const Summary s = summarize(server(), {row("as shipped", {100, 101, 102}), row("close", {52, 52, 53}),
                                         row("best", {50, 50, 51}, 1.5), row("worse", {200, 200, 201})});
  CHECK(s.rows[s.best].candidate.name == "best");
  CHECK(s.best_change() == Approx(-0.505).margin(0.001));
  CHECK(s.advice ==
        "best: 50 % less resident after idling, 50.0 MiB instead of 101.0 MiB; 50 % more CPU, the time is equal "
        "within the noise. close comes within 5 % of it.");
}

TEST_CASE("compare: one run tells nothing of time") {
  const Summary once = summarize(server(), {row("as shipped", {100}), row("best", {50}, 1.5)});
  CHECK(once.advice.find("50 % less resident") != once.advice.npos);
  CHECK(once.advice.ends_with("what that costs in time takes more than one run to tell."));
  const Summary twice = summarize(server(), {row("as shipped", {100, 100}), row("best", {50, 50}, 1.5)});
  CHECK(twice.advice.find("50 % more CPU") != twice.advice.npos);
}

TEST_CASE("compare: nothing is advised within the noise, of what failed, or what gave another result") {
  const auto keeps = [](Row other) {
    const Summary s = summarize(server(), {row("as shipped", {100, 101, 102}), std::move(other)});
    return s.best == 0 && s.best_change() == 0 && s.advice.starts_with("Keep it as shipped");
  };
  CHECK(keeps(row("equal", {99, 100, 101})));
  CHECK(keeps(row("more", {150, 151, 152})));
  Row failed = row("failed", {10, 10, 10});
  failed.trials[1].failure = "it was not ready";
  CHECK(keeps(failed));
  Row other = row("other", {10, 10, 10});
  other.trials[2].result = "wrong";
  CHECK(keeps(other));
  CHECK_FALSE(keeps(row("less", {10, 10, 10})));
}

TEST_CASE("compare: where as shipped fails, nothing is told") {
  Row shipped = row("as shipped", {100});
  shipped.trials[0].failure = "it ended with status 1";
  const Summary s = summarize(server(), {shipped, row("less", {10})});
  CHECK(s.best == 0);
  CHECK(s.advice == "As shipped it did not go through: there is nothing to compare with.");
}
