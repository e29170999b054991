// SPDX-License-Identifier: Apache-2.0
// What is read of a process where one number of the kernel's files is another one, a line is missing, or a file ends
// early: tests/unit/golden/files_*.txt.
#include <cctype>
#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "report/facts/cgroup.hpp"
#include "report/facts/kernel.hpp"
#include "report/facts/smaps.hpp"
#include "tests/unit/golden.hpp"
#include "tests/unit/made_up_folder.hpp"
#include "tests/unit/made_up_process.hpp"

using namespace mallard;
using namespace mallard::report;

namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

/// The text in other forms, with what was done to it.
std::vector<std::pair<std::string, std::string>> others_of(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> others;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (at == 0 || text[at - 1] == '\n') {
      const std::size_t end = text.find('\n', at);
      const std::string line = text.substr(at, end - at);
      others.emplace_back("without '" + line + "'", text.substr(0, at) + (end == std::string::npos ? "" : text.substr(end + 1)));
      others.emplace_back("up to '" + line + "'", text.substr(0, at));
      others.emplace_back("up to half of '" + line + "'", text.substr(0, at + line.size() / 2));
    }
    if (!std::isdigit(static_cast<unsigned char>(text[at])) || (at > 0 && std::isalnum(static_cast<unsigned char>(text[at - 1])))) continue;
    std::size_t end = at;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
    if (end - at > 18 || (end < text.size() && std::isxdigit(static_cast<unsigned char>(text[end])))) continue;
    const std::string digits = text.substr(at, end - at), line = text.substr(text.rfind('\n', at) + 1, end - text.rfind('\n', at) - 1);
    for (const unsigned long other : {0UL, std::stoul(digits) + 1, std::stoul(digits) * 2, 1UL << 40})
      others.emplace_back("'" + line + "' is " + std::to_string(other), text.substr(0, at) + std::to_string(other) + text.substr(end));
  }
  return others;
}

/// What `look` makes of the files, and of them with one that is in another form.
std::string table_of(const Files& files, const std::function<std::string(const MadeUpFolder&)>& look) {
  MadeUpFolder folder;
  for (const auto& [name, text] : files) folder.write(name, text);
  std::map<std::string, std::size_t> numbers;
  const auto number_of = [&](const std::string& result) { return numbers.emplace(result, numbers.size()).first->second; };
  number_of(look(folder));
  std::string to;
  for (const auto& [name, text] : files) {
    for (const auto& [how, other] : others_of(text)) {
      folder.write(name, other);
      if (const std::size_t now = number_of(look(folder))) to += name + " " + how + ": " + std::to_string(now) + "\n";
    }
    folder.write(name, text);
  }
  std::vector<const std::string*> results(numbers.size());
  for (const auto& [result, number] : numbers) results[number] = &result;
  for (std::size_t i = 0; i < results.size(); ++i) to += std::to_string(i) + ": " + *results[i] + "\n";
  return to;
}

std::string words(std::initializer_list<std::pair<const char*, std::uint64_t>> figures) {
  std::string to;
  for (const auto& [name, figure] : figures)
    if (figure != 0) to += std::string(to.empty() ? "" : ", ") + name + " " + std::to_string(figure);
  return to;
}

constexpr const char* kStatus =
    "Name:\tx\nPid:\t4711\nPPid:\t12\nNSpid:\t4711\t5\nVmLck:\t8 kB\nVmHWM:\t1040 kB\nVmRSS:\t1000 kB\nRssAnon:\t600 kB\n"
    "RssFile:\t300 kB\nRssShmem:\t100 kB\nVmPTE:\t100 kB\nVmSwap:\t16 kB\nThreads:\t3\n";

}  // namespace

TEST_CASE("files: the kernel's counters of a process, varied") {
  const Files files = {{"status", kStatus},
                       {"smaps_rollup",
                        "10000-20000 ---p 00000000 00:00 0    [rollup]\nRss: 1100 kB\nPss: 700 kB\nAnonymous: 650 kB\n"
                        "LazyFree: 50 kB\nAnonHugePages: 20 kB\nSwap: 12 kB\nLocked: 4 kB\n"},
                       {"cmdline", "x"}};
  expect_golden("files_counters.txt", table_of(files, [](const MadeUpFolder& folder) {
    const MadeUpProcess process(folder.of_process());
    Arena arena;
    const Rss r = read_rss(process);
    const ProcessFacts p = read_process_facts(arena, process);
    return words({{"known", r.known}, {"walked", r.walked}, {"lazily freed known", r.lazily_freed_known}, {"total", r.total},
                  {"anonymous", r.anonymous}, {"file", r.file}, {"shared", r.shared_memory}, {"lazily freed", r.lazily_freed},
                  {"huge", r.huge_pages}, {"swapped", r.swapped}, {"locked", r.locked}, {"proportional", r.proportional},
                  {"peak", r.peak}, {"pid", static_cast<std::uint64_t>(p.pid)}, {"parent", static_cast<std::uint64_t>(p.parent_pid)},
                  {"threads", static_cast<std::uint64_t>(p.threads)}});
  }));
}

TEST_CASE("files: each mapping by itself, varied") {
  const Files files = {{"smaps",
                        "10000000-10010000 rw-p 00000000 00:00 0 \nSize: 64 kB\nRss: 48 kB\nPss: 40 kB\nShared_Clean: 4 kB\n"
                        "Shared_Dirty: 8 kB\nPrivate_Clean: 12 kB\nPrivate_Dirty: 24 kB\nAnonymous: 36 kB\nLazyFree: 8 kB\n"
                        "AnonHugePages: 0 kB\nLocked: 4 kB\nVmFlags: rd wr mr\n"
                        "20000000-20008000 r--p 00001000 08:01 77 /a file\nSize: 32 kB\nRss: 16 kB\nPrivate_Clean: 16 kB\n"}};
  expect_golden("files_smaps.txt", table_of(files, [](const MadeUpFolder& folder) {
    Arena arena;
    std::span<const SmapsEntry> entries;
    if (!read_smaps(arena, MadeUpProcess(folder.of_process()), &entries)) return std::string("not readable");
    std::string to;
    for (const SmapsEntry& e : entries)
      to += words({{"from", e.begin}, {"to", e.end}, {"resident", e.resident}, {"proportional", e.proportional},
                   {"shared clean", e.shared_clean}, {"shared dirty", e.shared_dirty}, {"clean", e.private_clean},
                   {"dirty", e.private_dirty}, {"anonymous", e.anonymous}, {"lazily freed", e.lazily_freed},
                   {"huge", e.huge_pages}, {"swapped", e.swapped}, {"locked", e.locked}}) + "; ";
    return to;
  }));
}

TEST_CASE("files: what a cgroup is charged, varied") {
  const auto look = [](const MadeUpFolder& folder) {
    Arena arena;
    const CgroupCharge c = read_cgroup(arena, MadeUpProcess(folder.of_process()), folder.of_process() + "/..");
    return std::string(c.path) + " " +
           words({{"known", c.known}, {"version", static_cast<std::uint64_t>(c.version)}, {"processes", c.processes},
                  {"charged", c.charged}, {"limited", c.has_limit}, {"limit", c.limit}, {"alone", c.is_alone},
                  {"anonymous", c.anonymous}, {"page cache", c.page_cache}, {"shared", c.shared_memory},
                  {"page tables", c.page_tables}, {"stacks", c.kernel_stacks}, {"other", c.other_kernel}});
  };
  expect_golden("files_cgroup2.txt", table_of({{"status", kStatus},
                                               {"cgroup", "0::/\n"},
                                               {"../memory.current", "100000000\n"},
                                               {"../memory.max", "200000000\n"},
                                               {"../cgroup.procs", "4711\n"},
                                               {"../cgroup.stat", "nr_descendants 0\nnr_dying_descendants 3\n"},
                                               {"../memory.stat",
                                                "anon 60000000\nfile 30000000\nkernel 9000000\nkernel_stack 1000000\n"
                                                "pagetables 2000000\nsock 500000\nshmem 4000000\n"}},
                                              look));
}
