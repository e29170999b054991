// SPDX-License-Identifier: Apache-2.0
#include "record/sampler.hpp"

#include <string.h>
#include <sys/auxv.h>

#include <atomic>

#include "base/os.hpp"
#include "base/parts.hpp"
#include "record/published.hpp"

constinit __thread mallard::record::ThreadState mallard_thread = {};

namespace mallard::record {
namespace {

enum class State : std::uint8_t { kNotYet, kOn, kOff };
constinit State g_state = State::kNotYet;
constinit std::uint64_t g_mean_bytes = 0;
MALLARD_PART(mean_bytes, g_mean_bytes);

/// Far enough that no thread counts it down, near enough that no size can wrap it.
constexpr std::uint64_t kNever = std::uint64_t{1} << 62;

/// splitmix64 (Steele, Lea, Flood 2014): full period, any seed.
std::uint64_t next_random(ThreadState& t) noexcept {
  std::uint64_t z = (t.random += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

MALLARD_FORK_DATA constinit std::atomic<std::uint64_t> g_seeds{0};
MALLARD_FORK_DATA constinit std::uint64_t g_process_salt = 0;

/// Different for every thread and process. No system call: a host's seccomp filter may end it for one.
void seed(ThreadState& t) noexcept {
  std::uint64_t start = 0;
  if (const auto* random = reinterpret_cast<const char*>(getauxval(AT_RANDOM)))
    memcpy(&start, random, sizeof start);  // at any address
  t.random = start ^ g_process_salt ^ address_of(&t) ^ (g_seeds.fetch_add(1) + 1) * 0xd6e8feb86659fd93u;
  next_random(t);
  if (t.random == 0) t.random = 1;
}

std::uint64_t next_gap(ThreadState& t) noexcept {
  const double uniform = static_cast<double>((next_random(t) >> 11) + 1) * 0x1p-53;  // (0, 1]
  const double gap = -math::log(uniform) * static_cast<double>(g_mean_bytes);
  return static_cast<std::uint64_t>(gap);
}

}  // namespace

void sampler_init(std::uint64_t mean_bytes) noexcept {
  g_mean_bytes = mean_bytes;
  mallard_published.sample_bytes = mean_bytes;
  mallard_published.bias_bytes = kBiasBytes;
  g_state = mean_bytes ? State::kOn : State::kOff;
}

std::uint64_t sampler_mean_bytes() noexcept { return g_mean_bytes; }
bool sampler_adopt(const OtherParts& parts) noexcept { return parts.adopt(g_mean_bytes); }

bool decide(std::uint64_t size) noexcept {
  ThreadState& t = mallard_thread;
  const std::uint64_t counted = size + kBiasBytes;
  if (MALLARD_UNLIKELY(g_state != State::kOn)) {
    t.countdown = g_state == State::kOff ? kNever : 0;  // before init: ask again next time
    return false;
  }
  if (MALLARD_UNLIKELY(t.random == 0)) {
    // A thread's first allocation: the countdown of 0 was no gap. Draw one and count again.
    seed(t);
    t.countdown = next_gap(t);
    if (!__builtin_sub_overflow(t.countdown, counted, &t.countdown)) return false;
  }
  t.countdown = next_gap(t);
  return t.in_recording == 0;
}

void restart_countdown() noexcept {
  ThreadState& t = mallard_thread;
  if (g_state == State::kOff) t.countdown = kNever;
  else t.countdown = g_state == State::kOn && t.random != 0 ? next_gap(t) : 0;
}

double weight_of(std::uint64_t size) noexcept {
  return 1 / math::one_minus_exp(static_cast<double>(size + kBiasBytes) / static_cast<double>(g_mean_bytes));
}

MALLARD_FORK_TEXT void reseed_after_fork() noexcept {
  ThreadState& t = mallard_thread;
  g_process_salt = static_cast<std::uint64_t>(os::process_id()) << 32;
  if (t.random == 0) return;
  // What the parent goes on with, made different by the id. Not seed(), whose getauxval would be a page
  // fault.
  t.random ^= g_process_salt * 0xd6e8feb86659fd93u;
  next_random(t);
  if (t.random == 0) t.random = 1;
}

}  // namespace mallard::record
