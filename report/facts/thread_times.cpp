// SPDX-License-Identifier: Apache-2.0
#include "report/facts/thread_times.hpp"

#include <string.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/parts.hpp"
#include "base/text.hpp"
#include "report/facts/threads.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kMost = 1024;

struct ThreadTime {
  std::uint32_t id;
  std::uint64_t ran_ns;
};
/// One report at a time.
struct Remembered {
  ThreadTime threads[kMost];
  std::size_t count;
  std::uint64_t at_ns;
};
constinit Remembered g_last{};
MALLARD_PART(thread_times, g_last);
constinit std::uint32_t g_mallards = 0;
MALLARD_PART(mallards_thread, g_mallards);

/// The time that a thread was on a processor. \return false if the kernel does not tell, or it has ended
bool read_time(const ProcessMemory& process, std::uint32_t id, std::uint64_t* ran_ns) noexcept {
  FixedText<64> name;
  name.add("task/").add_unsigned(id).add("/schedstat");
  char text[64];
  if (process.read_file(name.view(), text, sizeof text) <= 0) return false;
  *ran_ns = leading_number(view_of(text));
  return true;
}

/// The thread that this is called in; 0 = unknown.
std::uint32_t own_id() noexcept {
  char link[64];
  const long n = os::call(SYS_readlink, os::arg("/proc/thread-self"), os::arg(link), sizeof link - 1);
  if (n <= 0) return 0;
  link[n] = 0;
  const char* slash = strrchr(link, '/');
  return slash ? static_cast<std::uint32_t>(leading_number(view_of(slash + 1))) : 0;
}

/// Times of threads as they are read.
struct Times {
  const ProcessMemory& process;
  std::uint32_t own;  ///< the thread that reads them
  ThreadTime* to;
  std::size_t count;
};

std::size_t read_times(const ProcessMemory& process, ThreadTime* to) noexcept {
  Times times{process, process.is_own() ? own_id() : 0, to, 0};
  for_each_thread(
      process,
      [](std::uint32_t id, void* opaque) noexcept {
        auto& t = *static_cast<Times*>(opaque);
        if (id != t.own && id != g_mallards && read_time(t.process, id, &t.to[t.count].ran_ns)) t.to[t.count++].id = id;
        return t.count < kMost;
      },
      &times);
  std::sort(to, to + times.count, [](const ThreadTime& a, const ThreadTime& b) { return a.id < b.id; });
  return times.count;
}

}  // namespace

bool thread_times_adopt(const OtherParts& parts) noexcept {
  return parts.adopt(g_last) && g_last.count <= kMost && parts.adopt(g_mallards);
}

void leave_out_this_thread() noexcept { g_mallards = own_id(); }

IdleThreads find_idle_threads(const ProcessMemory& process) noexcept {
  static constinit ThreadTime now[kMost];
  const std::size_t count = read_times(process, now);
  IdleThreads idle{0, 0, 0};
  for (std::size_t i = 0, k = 0; i < count; ++i) {
    while (k < g_last.count && g_last.threads[k].id < now[i].id) ++k;
    if (k == g_last.count || g_last.threads[k].id != now[i].id) continue;
    ++idle.compared;
    idle.count += g_last.threads[k].ran_ns == now[i].ran_ns;
  }
  const std::uint64_t at = os::monotonic_ns();
  idle.ns = at - g_last.at_ns;
  if (idle.compared == 0) idle = {-1, 0, 0};
  std::copy(now, now + count, g_last.threads);
  g_last.count = count;
  g_last.at_ns = at;
  return idle;
}

}  // namespace mallard::report
