// SPDX-License-Identifier: Apache-2.0
#include "report/facts/thread_times.hpp"

#include <fcntl.h>
#include <string.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/parts.hpp"
#include "base/text.hpp"

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

/// What getdents64 writes; the name follows.
struct Entry {
  std::uint64_t inode, offset;
  std::uint16_t bytes;
  std::uint8_t type;
};
constexpr std::size_t kNameAt = 19;

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

std::size_t read_times(const ProcessMemory& process, ThreadTime* to) noexcept {
  std::size_t count = 0;
  const auto folder =
      static_cast<int>(os::open(ProcessMemory::Path(process, "task").c_str(), O_RDONLY | O_DIRECTORY));
  if (folder < 0) return 0;
  const std::uint32_t own = process.is_own() ? own_id() : 0;
  alignas(8) char buffer[2048];
  for (long got;
       count < kMost && (got = os::call(SYS_getdents64, folder, os::arg(buffer), sizeof buffer)) > 0;)
    for (long at = 0; at < got && count < kMost;) {
      Entry entry;
      memcpy(&entry, buffer + at, kNameAt);
      const auto id = static_cast<std::uint32_t>(leading_number(view_of(buffer + at + kNameAt)));
      if (id != 0 && id != own && id != g_mallards && read_time(process, id, &to[count].ran_ns)) to[count++].id = id;
      at += entry.bytes;
    }
  os::close(folder);
  std::sort(to, to + count, [](const ThreadTime& a, const ThreadTime& b) { return a.id < b.id; });
  return count;
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
