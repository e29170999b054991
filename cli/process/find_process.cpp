// SPDX-License-Identifier: Apache-2.0
#include "cli/process/find_process.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include "cli/check/scripts.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/memory_file.hpp"
#include "cli/process/target.hpp"
#include "cli/terminal_text.hpp"

namespace mallard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostListed = 15;  // of a screen of 24 rows

struct Candidate {
  int pid;
  bool has_mallard;
  std::string words;  ///< its command line
};

std::vector<std::string> command_line(int pid) {
  std::string all;
  std::vector<std::string> words;
  if (!read_whole(fmt::format("/proc/{}/cmdline", pid), &all)) return words;
  for (std::size_t at = 0; at < all.size(); at = all.find('\0', at) + 1) {
    words.emplace_back(all.c_str() + at);
    if (all.find('\0', at) == all.npos) break;
  }
  return words;
}

bool has_name(int pid, const std::string& name, const std::vector<std::string>& words) {
  std::error_code none;
  const std::string folder = fmt::format("/proc/{}", pid);
  if (base_name(fs::read_symlink(folder + "/exe", none).string()) == name) return true;
  for (std::size_t i = 0; i < 2 && i < words.size(); ++i)
    if (base_name(words[i]) == name) return true;
  std::string title;
  constexpr std::size_t kTitleBytes = 15;
  return read_whole(folder + "/comm", &title) && title == name.substr(0, kTitleBytes) + "\n";
}

std::vector<Candidate> processes_named(const std::string& name) {
  std::vector<Candidate> found;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc", gone)) {
    const std::string word = entry.path().filename();
    if (!is_number(word)) continue;
    const int pid = std::stoi(word);
    const std::vector<std::string> words = command_line(pid);
    if (pid == getpid() || words.empty() || is_gone(pid) || !has_name(pid, name, words)) continue;
    found.push_back({pid, has_mallard(pid), fmt::format("{}", fmt::join(words, " "))});
  }
  std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.pid < b.pid; });
  return found;
}

/// Whether a command is for processes that were started with mallard.
bool is_for_recorded(std::string_view command) {
  constexpr std::string_view kThese[] = {"dump", "top", "mode", "purge"};
  return std::ranges::find(kThese, command) != std::end(kThese);
}

std::string listed(const std::vector<Candidate>& found) {
  std::string out;
  for (std::size_t i = 0; i < found.size() && i < kMostListed; ++i) {
    const std::string line =
        fmt::format("  {:>8}  {:<12}  {}", found[i].pid, found[i].has_mallard ? "with mallard" : "without",
                    printable(found[i].words));
    out += '\n';
    out += line.substr(0, terminal_columns(STDERR_FILENO));
  }
  if (found.size() > kMostListed) out += fmt::format("\n  ... and {} more", found.size() - kMostListed);
  return out;
}

}  // namespace

bool has_mallard(int pid) {
  std::string maps;
  return read_whole(fmt::format("/proc/{}/maps", pid), &maps) &&
         (maps.find("/libmallard.so") != maps.npos || is_attached_object(maps));
}

bool is_number(const std::string& word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_running(const std::string& name) { return !processes_named(name).empty(); }

int process_of(const std::string& word, const char* command) {
  if (is_number(word)) {
    int pid = 0;
    std::from_chars(word.data(), word.data() + word.size(), pid);
    return pid;
  }
  std::vector<Candidate> found = processes_named(word);
  if (found.empty())
    throw Error(kUnreadable, fmt::format("no process is called '{}'", printable(word)),
                is_for_recorded(command) && !find_in_path(word).empty()
                    ? fmt::format("mallard run -- {} starts it", printable(word))
                    : std::string("ps -e shows those that run"));
  const auto with =
      std::count_if(found.begin(), found.end(), [](const Candidate& c) { return c.has_mallard; });
  if (with > 0) std::erase_if(found, [](const Candidate& c) { return !c.has_mallard; });
  if (found.size() == 1) return found[0].pid;
  throw Error(kUsage, fmt::format("{} processes are called '{}'", found.size(), printable(word)),
              fmt::format("mallard {} PID asks one of them{}", command, listed(found)));
}

}  // namespace mallard::cli
