// SPDX-License-Identifier: Apache-2.0
// Healthy programs whose memory goes up and down with their work: batches, sawtooth, ramps, queues, buffers.
#include "../workloads/arena.hpp"
#include "series.hpp"

using namespace judgement;

SITE_FUNCTION(make_item, malloc(size))
SITE_FUNCTION(make_base, malloc(size))
SITE_FUNCTION(make_buffer, malloc(size))
SITE_FUNCTION(make_temporary, malloc(size))

namespace {

Random random_numbers(2);
Pool items(1 << 20), base(1 << 20);

void work(std::uint64_t bytes) { pass_by(make_temporary, bytes, random_numbers); }

/// Brings the items to a level.
void go_to(std::uint64_t bytes) {
  items.shrink(bytes);
  items.fill(make_item, 1500, bytes);
}

void batch(Series& series) {
  base.fill(make_base, 400, 40 * kMega);
  for (; series.goes_on(); series.report(steady())) {
    go_to(40 * kMega);
    items.clear();
  }
}

void batch_seen_in_the_middle(Series& series) {
  base.fill(make_base, 400, 20 * kMega);
  for (; series.goes_on(); items.clear()) {
    go_to(40 * kMega);
    series.report(steady());
  }
}

// The first teeth are the first that anybody sees: a rise over four reports is no leak, once it fell.
void sawtooth(Series& series) {
  base.fill(make_base, 400, 30 * kMega);
  bool fell = false;
  while (series.goes_on()) {
    if (items.live() > 40 * kMega) {
      items.clear();
      fell = true;
    }
    go_to(items.live() + 7 * kMega);
    series.report(fell ? steady() : undecided("leak"));
  }
}

void short_teeth(Series& series) {
  base.fill(make_base, 400, 40 * kMega);
  while (series.goes_on()) {
    if (items.live() > 20 * kMega) items.clear();
    go_to(items.live() + 11 * kMega);
    work(10 * kMega);
    series.report(steady());
  }
}

void tides(Series& series) {
  constexpr int kPeriod = 12;
  while (series.goes_on()) {
    const double phase = 2 * M_PI * series.step() / kPeriod;
    go_to(static_cast<std::uint64_t>((55 - 20 * cos(phase)) * kMega));
    work(10 * kMega);
    series.report(series.step() < kPeriod * 3 / 4 ? undecided("leak") : steady());
  }
}

void fluctuates(Series& series) {
  while (series.goes_on()) {
    go_to(random_numbers.between(35, 65) * kMega);
    work(10 * kMega);
    series.report(steady());
  }
}

void small_fluctuations(Series& series) {
  base.fill(make_base, 400, 50 * kMega);
  while (series.goes_on()) {
    go_to(random_numbers.between(10, 16) * kMega);
    work(10 * kMega);
    series.report(steady());
  }
}

void queue_builds_up_and_drains(Series& series) {
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    const int phase = series.step() % 12;
    const bool drains = phase > 6;
    go_to(static_cast<std::uint64_t>(drains ? 12 - phase : phase) * 5 * kMega);
    work(6 * kMega);
    series.report(drains || series.step() >= 12 ? steady() : undecided("leak"));
  }
}

void warms_up_then_steady(Series& series) {
  while (series.goes_on()) {
    const bool warms = series.step() < 3;
    if (warms) base.fill(make_base, 400, base.live() + 15 * kMega);
    work(30 * kMega);
    series.report(steady());
  }
}

void steady_service(Series& series) {
  base.fill(make_base, 400, 40 * kMega);
  for (; series.goes_on(); work(30 * kMega)) series.report(steady());
}

void sessions_come_and_go(Series& series) {
  while (items.live() < 45 * kMega) items.add(make_item, random_numbers.between(200, 9000));
  while (series.goes_on()) {
    for (int i = 0; i < 4000; i++) {
      items.add(make_item, random_numbers.between(200, 9000));
      while (items.live() > 45 * kMega) items.drop(random_numbers.below(items.size()));
    }
    series.report(steady());
  }
}

// A peak of load that ends; afterwards as before.
void one_peak(Series& series) {
  base.fill(make_base, 400, 40 * kMega);
  while (series.goes_on()) {
    go_to(series.step() == 4 || series.step() == 5 ? 40 * kMega : 2 * kMega);
    work(10 * kMega);
    series.report(steady());
  }
}

// An arena whose chunks double until its query is answered; the chunks of 1 to 32 MiB then stay in use.
void staircase_that_ends(Series& series) {
  std::uint64_t chunk = kMega, used = 0, held = 0;
  while (series.goes_on()) {
    const bool fills = used < 60 * kMega;
    if (fills) used += 8 * kMega;
    while (held < used) {
      items.add(make_buffer, chunk);
      held += chunk;
      chunk *= 2;
    }
    work(10 * kMega);
    series.report(fills ? undecided("leak") : healthy(kWaste), used);
  }
}

void buffers_grow_and_shrink(Series& series) {
  static void* buffers[200];
  while (series.goes_on()) {
    std::uint64_t live = 0;
    for (void*& buffer : buffers) {
      const std::size_t bytes = random_numbers.between(50'000, 450'000);
      buffer = realloc(buffer, bytes);
      memset(buffer, 1, bytes);
      live += bytes;
    }
    work(5 * kMega);
    series.report(healthy(kWaste), live);
  }
}

void ring_of_buffers(Series& series) {
  items.fill(make_buffer, kMega, 60 * kMega);
  for (std::size_t next = 0; series.goes_on(); series.report(steady()))
    for (int i = 0; i < 25; i++) items.replace(next++ % items.size(), make_buffer, kMega);
}

void write_buffers_are_flushed(Series& series) {
  base.fill(make_base, 400, 30 * kMega);
  while (series.goes_on()) {
    for (int i = 0; i < 7000; i++) {
      items.add(make_item, 1500);
      if (items.live() > 24 * kMega) items.clear();
    }
    series.report(series.step() < 3 ? undecided("leak") : steady());
  }
}

// An arena keeps the largest chunk that one query ever needed. What queries need has an end.
void ratcheting_arena(Series& series) {
  base.fill(make_base, 400, 20 * kMega);
  static Arena arena(make_buffer, 64 << 10, true);
  std::uint64_t largest = 0, before = 0;
  int still = 0;
  while (series.goes_on()) {
    for (int query = 0; query < 8; query++) {
      const std::uint64_t needs =
          random_numbers.between(1, std::min(20 + series.step() * 10, 60)) * kMega / 2;
      largest = std::max(largest, needs);
      for (std::uint64_t taken = 0; taken < needs; taken += 60'000) touch(arena.take(60'000), 60'000);
      arena.reset();
    }
    work(4 * kMega);
    still = largest > before ? 0 : still + 1;
    before = largest;
    series.report(still < 4 ? undecided("leak retention unfit_free external_fragmentation joint_pinning") : healthy(kWaste),
                  base.live() + arena.held_bytes());
  }
}

// Small growth that ends: a hundred KiB a step, far below what an alarm is worth.
void counters_of_statistics(Series& series) {
  base.fill(make_base, 400, 40 * kMega);
  while (series.goes_on()) {
    base.fill(make_base, 400, base.live() + 100'000);
    work(20 * kMega);
    series.report(steady());
  }
}

constexpr Shape kShapes[] = {
    {"batch", "healthy", 8, batch},
    {"batch_seen_in_the_middle", "healthy", 8, batch_seen_in_the_middle},
    {"sawtooth", "healthy", 24, sawtooth},
    {"short_teeth", "healthy", 16, short_teeth},
    {"tides", "healthy", 36, tides},
    {"fluctuates", "healthy", 30, fluctuates},
    {"small_fluctuations", "healthy", 30, small_fluctuations},
    {"queue_builds_up_and_drains", "healthy", 30, queue_builds_up_and_drains},
    {"warms_up_then_steady", "healthy", 12, warms_up_then_steady},
    {"steady_service", "healthy", 40, steady_service},
    {"sessions_come_and_go", "healthy", 12, sessions_come_and_go},
    {"one_peak", "healthy", 14, one_peak},
    {"staircase_that_ends", "healthy", 16, staircase_that_ends},
    {"buffers_grow_and_shrink", "healthy", 12, buffers_grow_and_shrink},
    {"ring_of_buffers", "healthy", 10, ring_of_buffers},
    {"write_buffers_are_flushed", "healthy", 16, write_buffers_are_flushed},
    {"ratcheting_arena", "healthy", 22, ratcheting_arena},
    {"counters_of_statistics", "healthy", 20, counters_of_statistics},
};

}  // namespace

int main(int count, char** words) { return run_shape(kShapes, count, words); }
