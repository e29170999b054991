// SPDX-License-Identifier: Apache-2.0
// Words of a command line and an environment: candidates and signals of compare, values of ALLOC_*.
#include <string>

#include "base/options.hpp"
#include "cli/compare/plan.hpp"
#include "cli/error.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard;

namespace {

constexpr const char* kVariables[] = {"ALLOC_BACKEND",  "ALLOC_SAMPLE_BYTES", "ALLOC_REPORT",
                                      "ALLOC_SIGNAL",   "ALLOC_INTERVAL",     "ALLOC_MODE",
                                      "ALLOC_EMBEDDED", "ALLOC_PROBE",        "ALLOC_AT_EXIT"};

/// \param read  what takes the words: it accepts them, or throws an Error with a sentence
template <class Read>
void read_words(Read read) {
  try {
    read();
  } catch (const cli::Error& error) {
    if (std::string(error.what()).empty()) std::abort();
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read_words([&] {
    for (const cli::compare::Candidate& c : cli::compare::parse_candidates(text, {}))
      if (c.name.empty()) std::abort();
  });
  read_words([&] { cli::compare::parse_candidates("", {text}); });
  read_words([&] { cli::compare::parse_stop_signal(text); });
  const int signal = parse_signal(text);
  if (signal < -1 || signal > 64) std::abort();
  for (const char* variable : kVariables) what_is_expected(variable, text);
  return 0;
}
