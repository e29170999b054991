// SPDX-License-Identifier: Apache-2.0
// What a report says of a process as a whole, from files as the kernel shows them in /proc.
#include <elf.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "record/mappings.hpp"
#include "report/facts/environment.hpp"
#include "report/facts/kernel.hpp"
#include "tests/unit/made_up_folder.hpp"
#include "tests/unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000, kKilo = 1024;

std::uint64_t since_boot_ns() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

/// /proc/PID/stat of a process that is so old; its name looks like the end of a name.
std::string stat_of(std::uint64_t started_ns) {
  const auto ticks = started_ns / (kSecond / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)));
  return "4711 (a) S 1 (b) S 1 4711 4711 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 5 0 " + std::to_string(ticks) +
         " 1000000 250 18446744073709551615\n";
}

constexpr const char* kStatus =
    "Name:\tThreads:\nState:\tS (Threads: 9)\nNoThreads:\t8\nPid:\t4711\nPPid:\t1200\nNSpid:\t4711\t52\t7\nThreads:\t5\n";

std::string counters(int total, int anonymous, int file, int shared) {
  const auto line = [](const char* name, int kilo) {
    return std::string(name) + ":\t" + std::to_string(kilo) + " kB\n";
  };
  return "Name:\tVmRSS: 5\n" + line("VmPeak", 999'999) + line("VmLck", 8) + line("VmHWM", total + 40) + line("VmRSS", total) +
         line("RssAnon", anonymous) + line("RssFile", file) + line("RssShmem", shared) + line("VmSwap", 16);
}

}  // namespace

TEST_CASE("process: its name, command line, age, threads and ids are those that the kernel tells") {
  MadeUpFolder folder;
  MadeUpProcess process(folder.of_process());
  Arena arena;
  folder.write("status", kStatus);
  folder.write("cmdline", std::string("redis-server\0--port\n7\x7f\0\0\0", 24));
  folder.link("exe", "/usr/bin/redis-check-rdb");
  const std::uint64_t started = since_boot_ns() - 5 * kSecond;
  folder.write("stat", stat_of(started));
  const ProcessFacts facts = read_process_facts(arena, process);
  CHECK(facts.executable == "/usr/bin/redis-check-rdb");
  CHECK(facts.name == "redis-check-rdb");  // nothing tells how it was started
  CHECK(facts.command_line == "redis-server --port 7\x7f");
  CHECK(facts.threads == 5);
  CHECK(read_thread_count(process) == 5);
  CHECK(facts.pid == 4711);
  CHECK(facts.parent_pid == 1200);
  CHECK(facts.uptime_ns >= 5 * kSecond);
  CHECK(facts.uptime_ns <= since_boot_ns() - started + kSecond / 50);
  CHECK(facts.idle_threads == -1);
  CHECK(facts.idle_for_ns == 0);

  process.adopt_books();  // its own reports have the id that it sees itself
  CHECK(read_process_facts(arena, process).pid == 7);
}

TEST_CASE("process: the name is that under which it was started, up to its last byte in memory") {
  MadeUpFolder folder;
  MadeUpProcess process(folder.of_process());
  Arena arena;
  folder.link("exe", "/usr/bin/redis-check-rdb");
  const std::string path = "/opt/redis-server";
  const std::uintptr_t at = 0x7ff000 + kPageBytes - path.size() - 1;
  const Elf64_auxv_t entries[] = {{AT_PAGESZ, {4096}}, {AT_EXECFN, {at}}, {AT_NULL, {0}}};
  folder.write("auxv", {reinterpret_cast<const char*>(entries), sizeof entries});
  process.map(0x7ff000, kPageBytes);
  process.write(at, path.c_str(), path.size());
  CHECK(read_process_facts(arena, process).name == "redis-server");
}

TEST_CASE("process: what cannot be read is unknown, not made up") {
  MadeUpProcess process("/nowhere/at/all");
  Arena arena;
  const ProcessFacts facts = read_process_facts(arena, process);
  CHECK(facts.executable == "(unknown)");
  CHECK(facts.name == "(unknown)");
  CHECK(facts.command_line.empty());
  CHECK(facts.uptime_ns == 0);
  CHECK(facts.threads == 0);
  CHECK(facts.parent_pid == 0);
  CHECK(read_thread_count(process) == 0);
  CHECK(!read_rss(process).known);
  CHECK(read_environment(arena, process).empty());
  CHECK(!little_is_lazily_freed(process, {.anonymous = std::uint64_t{1} << 40}));
}

TEST_CASE("process: its variables are read as they are") {
  MadeUpFolder folder;
  folder.write("environ", std::string("A=1\0B=\0", 7));
  Arena arena;
  CHECK(read_environment(arena, MadeUpProcess(folder.of_process())) == std::string_view("A=1\0B=\0", 7));
  folder.write("environ", std::string(200 << 10, 'x'));
  CHECK(read_environment(arena, MadeUpProcess(folder.of_process())).size() == (128 << 10) - 1);
}

TEST_CASE("rss: by the kernel's counters where no page table can be walked") {
  MadeUpFolder folder;
  folder.write("status", counters(1000, 600, 300, 100));
  const Rss rss = read_rss(MadeUpProcess(folder.of_process()));
  CHECK(rss.known);
  CHECK(!rss.walked);
  CHECK(!rss.lazily_freed_known);
  CHECK(rss.total == 1000 * kKilo);
  CHECK(rss.anonymous == 600 * kKilo);
  CHECK(rss.file == 300 * kKilo);
  CHECK(rss.shared_memory == 100 * kKilo);
  CHECK(rss.swapped == 16 * kKilo);
  CHECK(rss.locked == 8 * kKilo);
  CHECK(rss.peak == 1040 * kKilo);
}

TEST_CASE("rss: a walk over the page tables is exact, and its parts add up") {
  MadeUpFolder folder;
  folder.write("status", counters(1000, 600, 300, 100));
  folder.write("smaps_rollup",
               "10000-20000 ---p 00000000 00:00 0    [rollup]\nRss:  1100 kB\nPss_Dirty: 1 kB\nPss: 700 kB\n"
               "Anonymous: 650 kB\nLazyFree: 50 kB\nAnonHugePages: 20 kB\nSwapPss: 1 kB\nSwap: 12 kB\n"
               "Locked: 4 kB\n");
  const MadeUpProcess process(folder.of_process());
  Rss rss = read_rss(process);
  CHECK(rss.walked);
  CHECK(rss.lazily_freed_known);
  CHECK(rss.total == 1100 * kKilo);
  CHECK(rss.proportional == 700 * kKilo);
  CHECK(rss.anonymous == 650 * kKilo);
  CHECK(rss.lazily_freed == 50 * kKilo);
  CHECK(rss.huge_pages == 20 * kKilo);
  CHECK(rss.swapped == 12 * kKilo);
  CHECK(rss.locked == 4 * kKilo);
  CHECK(rss.shared_memory == 100 * kKilo);
  CHECK(rss.file == 350 * kKilo);
  CHECK(rss.peak == 1100 * kKilo);  // read a moment before

  folder.write("status", counters(1000, 100, 300, 600));  // since then, shared memory was given back
  rss = read_rss(process);
  CHECK(rss.shared_memory == 450 * kKilo);
  CHECK(rss.file == 0);
}

TEST_CASE("rss: where mallard saw that nothing was given back lazily, large page tables are not walked") {
  MadeUpFolder folder;
  folder.write("smaps_rollup", "Rss: 1 kB\n");
  MadeUpProcess process(folder.of_process());
  const auto walked = [&](int total, int anonymous) {
    folder.write("status", counters(total, anonymous, total - anonymous, 0));
    return read_rss(process).walked;
  };
  CHECK(walked(17 << 10, 16 << 10));
  process.adopt_books();
  const auto lazy = static_cast<int>(record::lazy_free_bytes() / kKilo);
  CHECK(walked(16 << 10, 15 << 10));
  CHECK(!walked((17 << 10) + lazy * 101, (16 << 10) + lazy * 101));
  CHECK(walked((17 << 10) + lazy * 100, lazy * 100));
}

TEST_CASE("rss: little is lazily freed where the whole machine freed less than a hundredth") {
  MadeUpFolder folder;
  const MadeUpProcess process(folder.of_process());
  folder.write("../vmstat", "nr_pglazyfree 7000\npglazyfreed 1\npglazyfree 25\n");
  CHECK(little_is_lazily_freed(process, {.anonymous = 2501 * kPageBytes}));
  CHECK(!little_is_lazily_freed(process, {.anonymous = 2500 * kPageBytes}));
  folder.write("../vmstat", "nr_free_pages 1\n");
  CHECK(!little_is_lazily_freed(process, {.anonymous = std::uint64_t{1} << 40}));
}
