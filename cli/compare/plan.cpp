// SPDX-License-Identifier: Apache-2.0
#include "cli/compare/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <regex>
#include <sstream>

#include "base/options.hpp"
#include "cli/backend_word.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli::compare {
namespace {

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text.substr(std::min(text.find_first_not_of(' '), text.size()));
}

bool is_variable(const std::string& name) {
  return !name.empty() && (name[0] < '0' || name[0] > '9') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
         });
}

Candidate parse_try(const std::string& text) {
  constexpr const char* kExpected =
      "expected is 'NAME: VARIABLE=VALUE ...', as in 'no huge pages: MALLOC_CONF=thp:never'";
  const std::size_t colon = text.find(": ");
  if (colon == text.npos || trimmed(text.substr(0, colon)).empty())
    throw Error(kUsage, fmt::format("--try '{}' has no name before a colon and a blank", text), kExpected);
  Candidate out{trimmed(text.substr(0, colon)), {}, {}};
  std::istringstream words(text.substr(colon + 1));
  for (std::string word; words >> word;) {
    const std::size_t equals = word.find('=');
    if (equals == word.npos || !is_variable(word.substr(0, equals)))
      throw Error(kUsage, fmt::format("--try '{}': '{}' sets no variable", text, word), kExpected);
    const std::string name = word.substr(0, equals), value = word.substr(equals + 1);
    if (name == "ALLOC_BACKEND") {
      check_backend(value, "candidate");
      out.backend = value;
    } else {
      out.variables.emplace_back(name, value);
    }
  }
  if (out.variables.empty() && out.backend.empty())
    throw Error(kUsage, fmt::format("--try '{}' sets nothing", text), kExpected);
  return out;
}

void check_pattern(const char* option, const std::string& pattern, unsigned least_groups) {
  try {
    if (std::regex(pattern).mark_count() >= least_groups) return;
  } catch (const std::regex_error& e) {
    throw Error(kUsage, fmt::format("{} '{}' is no regular expression: {}", option, pattern, e.what()));
  }
  throw Error(kUsage, fmt::format("{} '{}' has no group for the number", option, pattern),
              "put brackets around it: --metric 'requests per second: ([0-9.]+)'");
}

}  // namespace

std::vector<Candidate> parse_candidates(const std::string& backends, const std::vector<std::string>& tries) {
  std::vector<Candidate> out{{"as shipped", {}, {}}};
  std::istringstream words(backends);
  for (std::string backend; std::getline(words, backend, ',');) {
    if (backend.empty()) continue;
    check_backend(backend, "candidate");
    if (base_name(backend).empty())
      throw Error(kUsage, fmt::format("candidate '{}' is a directory", backend), "give the path of a library");
    out.push_back({std::string(base_name(backend)), backend, {}});
  }
  for (const std::string& text : tries) out.push_back(parse_try(text));
  for (std::size_t i = 0; i < out.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (out[i].name == out[j].name)
        throw Error(kUsage, fmt::format("two candidates are called '{}'", out[i].name),
                    "give one of them another name with --try");
  return out;
}

std::vector<Candidate> tuned(const Candidate& base, bool is_first,
                             const std::vector<std::pair<std::string, std::string>>& lines) {
  std::vector<Candidate> out;
  for (const auto& [words, line] : lines) {
    const std::size_t equals = line.find('=');
    Candidate made = base;
    made.name = is_first ? words : base.name + ", " + words;
    std::erase_if(made.variables, [&](const auto& v) { return v.first == line.substr(0, equals); });
    made.variables.emplace_back(line.substr(0, equals), line.substr(equals + 1));
    out.push_back(std::move(made));
  }
  return out;
}

int parse_stop_signal(const std::string& word) {
  const int signal = parse_signal(word);
  if (signal > 0) return signal;
  throw Error(kUsage, fmt::format("--stop '{}' is no signal", word),
              "expected is TERM, INT, QUIT, a number ...");
}

void check_plan(const Plan& plan) {
  if (plan.is_server() && plan.ready_pattern.empty() && plan.ready_port == 0)
    throw Error(kUsage, "--load needs to know when the program is ready",
                "add --ready REGEX, found in what it prints, or --ready-port N");
  if (!plan.is_server() && (!plan.ready_pattern.empty() || plan.ready_port != 0))
    throw Error(kUsage, "--ready and --ready-port wait for a server, and there is no --load to drive it",
                "add --load 'COMMAND'; without it the program is run until it ends");
  for (const auto& [option, given] : {std::pair{"--metric", &plan.metric}, {"--check", &plan.check}})
    if (!plan.is_server() && !given->empty())
      throw Error(kUsage, fmt::format("{} belongs to a server that --load drives", option));
  if (!plan.ready_pattern.empty()) check_pattern("--ready", plan.ready_pattern, 0);
  if (!plan.metric.empty()) check_pattern("--metric", plan.metric, 1);
}

}  // namespace mallard::cli::compare
