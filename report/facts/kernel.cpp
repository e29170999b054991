// SPDX-License-Identifier: Apache-2.0
#include "report/facts/kernel.hpp"

#include <elf.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "arch/page.hpp"
#include "base/os.hpp"
#include "base/text.hpp"
#include "base/times.hpp"
#include "elf/auxiliary_vector.hpp"
#include "record/mappings.hpp"
#include "report/facts/proc_fields.hpp"
#include "report/facts/thread_times.hpp"

namespace mallard::report {
namespace {

std::string_view kept(Arena& arena, std::string_view text) noexcept {
  char* copy = arena.array<char>(text.size() + 1);
  if (!copy) return "(no memory)";
  memcpy(copy, text.data(), text.size());
  return {copy, text.size()};
}

/// Start of the process in clock ticks since boot: field 22 of /proc/PID/stat, after the last ')'.
std::uint64_t start_ticks(const ProcessMemory& process) noexcept {
  char text[1024];
  if (process.read_file("stat", text, sizeof text) <= 0) return 0;
  const char* at = strrchr(text, ')');
  for (int spaces = 0; at && *at; ++at)
    if (*at == ' ' && ++spaces == 20) return leading_number(view_of(at + 1));
  return 0;
}

std::uint64_t uptime_ns(const ProcessMemory& process) noexcept {
  timespec now{};
  os::call(SYS_clock_gettime, CLOCK_BOOTTIME, os::arg(&now));
  const std::uint64_t since_boot = ns_of(now);
  const auto ticks_per_second = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
  const std::uint64_t ticks = start_ticks(process);
  if (ticks == 0) return 0;  // /proc is not readable
  const std::uint64_t started = ticks * (kNsPerSecond / ticks_per_second);
  return since_boot > started ? since_boot - started : 0;
}

/// The path under which the program was started: /proc/PID/exe would show redis-server as the file it links
/// to. \return empty if it cannot be read
std::string_view started_as(Arena& arena, const ProcessMemory& process) noexcept {
  const std::uintptr_t at = elf::auxiliary_value(process, AT_EXECFN);
  if (process.is_own()) return view_of(reinterpret_cast<const char*>(at));
  char path[kPageBytes];
  std::size_t n = 0;  // it is the last text on the stack, near its end: what lies behind may not be mapped
  while (at != 0 && n + 1 < sizeof path && process.get(at + n, &path[n]) && path[n] != '\0') ++n;
  return kept(arena, {path, n});
}

}  // namespace

namespace {

/// The id that a process with mallard sees itself, as its own reports have it; of others the one seen here.
int id_seen(const ProcessMemory& process, std::string_view status) noexcept {
  const std::uint32_t inside = process.is_recorded() ? id_seen_inside(status) : 0;
  return static_cast<int>(inside != 0 ? inside : field(status, "Pid"));
}

}  // namespace

ProcessFacts read_process_facts(Arena& arena, const ProcessMemory& process) noexcept {
  ProcessFacts facts{};
  facts.taken_at_ns = os::realtime_ns();
  facts.uptime_ns = uptime_ns(process);
  facts.executable = "(unknown)";
  // They are compared with those of an earlier report, and of a process without mallard there is none.
  const IdleThreads idle = process.is_recorded() ? find_idle_threads(process) : IdleThreads{-1, 0, 0};
  facts.idle_threads = idle.count;
  facts.compared_threads = idle.compared;
  facts.idle_for_ns = idle.ns;
  char text[4096];
  const long length = os::call(SYS_readlink, os::arg(ProcessMemory::Path(process, "exe").c_str()),
                               os::arg(text), sizeof text);
  if (length > 0) facts.executable = kept(arena, {text, static_cast<std::size_t>(length)});
  const std::string_view path = started_as(arena, process);
  facts.name = file_name_of(path.empty() ? facts.executable : path);
  long n = process.read_file("cmdline", text, 513);
  if (n > 0) {
    while (n > 0 && text[n - 1] == '\0') --n;
    for (long i = 0; i < n; ++i)
      if (static_cast<unsigned char>(text[i]) < ' ') text[i] = ' ';
    facts.command_line = kept(arena, {text, static_cast<std::size_t>(n)});
  }
  const StatusFile file(process);
  const std::string_view status = file.text();
  facts.threads = static_cast<int>(field(status, "Threads"));
  facts.pid = process.is_own() ? os::process_id() : id_seen(process, status);
  facts.parent_pid =
      process.is_own() ? static_cast<int>(os::call(SYS_getppid)) : static_cast<int>(field(status, "PPid"));
  return facts;
}

int read_thread_count(const ProcessMemory& process) noexcept {
  return static_cast<int>(field(StatusFile(process).text(), "Threads"));
}

namespace {

/// The kernel's running counters: no page table is walked. Exact since Linux 6.16; before, they may be off by
/// some dozen pages for each thread or processor.
Rss read_counters(const ProcessMemory& process) noexcept {
  Rss rss{};
  const StatusFile status(process);
  if (status.text().empty()) return rss;
  const auto bytes = [&status](std::string_view name) { return field(status.text(), name) * 1024; };
  rss.known = true;
  rss.total = bytes("VmRSS");
  rss.anonymous = bytes("RssAnon");
  rss.file = bytes("RssFile");
  rss.shared_memory = bytes("RssShmem");
  rss.swapped = bytes("VmSwap");
  rss.peak = bytes("VmHWM");
  rss.locked = bytes("VmLck");
  return rss;
}

/// What all processes of this machine gave back by MADV_FREE since it started: more than what one of them
/// still has in memory, also where it called the kernel past libc.
/// \return all bits set if the kernel does not tell
std::uint64_t machine_lazily_freed(const ProcessMemory& process) noexcept {
  char text[16384];
  const long n = process.read_file("../vmstat", text, sizeof text);
  const auto pages = find_field({text, n > 0 ? static_cast<std::size_t>(n) : 0}, "pglazyfree", ' ');
  return pages ? *pages * kPageBytes : ~std::uint64_t{0};
}

/// smaps_rollup and smaps walk all page tables, and the host cannot map memory while one mapping is walked.
bool may_walk(const ProcessMemory& process, const Rss& counters) noexcept {
  constexpr std::uint64_t kQuickBytes = 16u << 20;  // under a millisecond even if it is one mapping
  if (counters.total <= kQuickBytes) return true;
  // Otherwise only for what no counter tells: memory given back by MADV_FREE, if there can be much of it.
  // Whether a process without mallard gave any back was seen by nobody.
  if (!process.is_recorded()) return true;
  return record::lazy_free_bytes() >= counters.anonymous / 100;
}

void add_walked(const ProcessMemory& process, Rss* rss) noexcept {
  char text[4096];
  const long n = process.read_file("smaps_rollup", text, sizeof text);
  if (n <= 0) return;
  const auto bytes = [rollup = std::string_view(text, static_cast<std::size_t>(n))](std::string_view name) {
    return field(rollup, name) * 1024;
  };
  rss->walked = rss->lazily_freed_known = true;
  rss->total = bytes("Rss");
  rss->anonymous = bytes("Anonymous");
  rss->lazily_freed = bytes("LazyFree");
  rss->huge_pages = bytes("AnonHugePages");
  rss->swapped = bytes("Swap");
  rss->proportional = bytes("Pss");
  rss->locked = bytes("Locked");
  const std::uint64_t rest = rss->total - rss->anonymous;
  if (rss->shared_memory > rest) rss->shared_memory = rest;  // read a moment before
  rss->file = rest - rss->shared_memory;
}

}  // namespace

Rss read_rss(const ProcessMemory& process) noexcept {
  Rss rss = read_counters(process);
  if (rss.known && may_walk(process, rss)) add_walked(process, &rss);
  if (rss.peak > 0) rss.peak = std::max(rss.peak, rss.total);  // read a moment before
  return rss;
}

bool little_is_lazily_freed(const ProcessMemory& process, const Rss& rss) noexcept {
  return machine_lazily_freed(process) < rss.anonymous / 100;
}

}  // namespace mallard::report
