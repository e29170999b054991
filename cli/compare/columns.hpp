// SPDX-License-Identifier: Apache-2.0
// What every form of a comparison shows alike: the columns of its figures, and the words beside them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/compare/summary.hpp"

namespace mallard::cli::compare {

std::string seconds_text(double seconds);
std::string time_text(double ns);

struct Column {
  const char *words, *field, *unit;  ///< unit: as the page calls it
  Figure Row::*figure;
  std::string (*text)(double);
  bool of_servers, of_batches;  ///< whose table of text has it
};
std::span<const Column> all_columns();
/// Those of the table of text.
std::vector<const Column*> columns_of(const Plan& plan);

/// What is to be said beside a row's figures; empty = nothing.
std::string remark(const Plan& plan, const Row& row);
/// What "=" means.
const char* noise_words(const Plan& plan);
/// "one of 64 timed": the share of the calls that the times are of.
std::string timed_words(const Summary& s);

}  // namespace mallard::cli::compare
