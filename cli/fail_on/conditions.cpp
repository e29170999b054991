// SPDX-License-Identifier: Apache-2.0
#include "cli/fail_on/conditions.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "cli/decimal.hpp"
#include "cli/help.hpp"
#include "report/model/causes.hpp"
#include "report/model/verdict_model.hpp"

namespace mallard::cli {

namespace {

using Kind = Condition::Kind;

[[noreturn]] void refuse(const std::string& condition, const std::string& why, const std::string& hint) {
  throw Error(kUsage, fmt::format("--fail-on '{}': {}", condition, why), hint);
}

/// What stands before '>'.
void set_subject(std::string_view name, Condition* c) {
  c->subject = name;
  if (name == "rss") c->kind = Kind::kRss;
  else if (name == "counts") c->kind = Kind::kCounts;
  else if (name == "unexplained") c->kind = Kind::kUnexplained;
  else if (name == "lost") c->kind = Kind::kLost;
  else if (report::find_cause(name)) c->kind = Kind::kLine;
  else if (name.starts_with("site.")) {
    c->kind = Kind::kSite;
    c->subject = name.substr(5);
    c->figure = report::find_figure(c->subject);
    if (!c->figure)
      refuse(c->text, fmt::format("call sites have no figure '{}'", c->subject),
             "site. and one of " + fmt::format("{}", fmt::join(figure_names(), ", ")));
  } else {
    refuse(c->text, fmt::format("there is no figure '{}'", name),
           "rss, counts, unexplained, lost, a cause of the ledger (live, holes, retained, ...), or site.live "
           "and "
           "the like");
  }
}

/// A number without sign, exponent or blanks, up to 15 digits.
bool parse_number(std::string_view text, double* out) {
  const auto is_part = [](char c) { return (c >= '0' && c <= '9') || c == '.'; };
  if (text.empty() || text.size() > 15 || text[0] == '.' || !std::all_of(text.begin(), text.end(), is_part))
    return false;
  return read_decimal(std::string(text), out);
}

/// What stands behind '>'.
void set_bound(std::string_view bound, bool of_two, Condition* c) {
  if (bound.starts_with('+')) {
    c->is_growth = true;
    bound.remove_prefix(1);
    if (!of_two) refuse(c->text, "one report shows no growth", "mallard diff compares two reports");
  }
  const bool is_count = c->is_count();
  if (bound.ends_with('%')) {
    bound.remove_suffix(1);
    c->is_percentage = true;
    if (!c->is_growth && (is_count || c->kind == Kind::kRss))
      refuse(c->text, fmt::format("'{}' is no share of RSS", c->text.substr(0, c->text.find('>'))),
             is_count ? "give a number of blocks" : "give a size: 500M, 2G");
    if (!parse_number(bound, &c->bound))
      refuse(c->text, fmt::format("'{}%' is no percentage", bound), "for example 5% or 0.5%");
    return;
  }
  std::uint64_t value = 0;
  if (is_count ? !parse_number(bound, &c->bound) : !parse_bytes(bound, &value))
    refuse(
        c->text, fmt::format("'{}' is no {}", bound, is_count ? "number" : "size"),
        is_count ? "a number of blocks: 10000" : "a number of bytes, or with K, M, G: 500K, 10M, 2G; or 5%");
  if (!is_count) c->bound = static_cast<double>(value);
}

Condition parse_one(std::string_view text, bool of_two) {
  Condition c{std::string(text), Kind::kVerdict, std::string(text)};
  if (const std::size_t at = text.find('>'); at != text.npos) {
    set_subject(text.substr(0, at), &c);
    set_bound(text.substr(at + 1), of_two, &c);
    return c;
  }
  if (text == "any") c.kind = Kind::kAnyVerdict;
  else if (text == kInconsistentWord) c.kind = Kind::kInconsistent;
  else if (!report::find_verdict(text) || text == report::facts_of(report::VerdictCause::kNone).name)
    refuse(c.text, "is neither a verdict nor of the form FIGURE>BOUND",
           "any, leak, retention, ...; inconsistent; or holes>100M, unexplained>5%, site.live>10M");
  return c;
}

}  // namespace

std::vector<Condition> parse_conditions(const std::string& text, bool of_two) {
  std::vector<Condition> out;
  for (std::size_t at = 0; !text.empty() && at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    if (end == at) refuse(text, "there is an empty condition", "conditions have one comma between them");
    Condition c = parse_one(std::string_view(text).substr(at, end - at), of_two);
    at = end + 1;
    const auto is_same = [&](const Condition& given) { return given.text == c.text; };
    if (std::none_of(out.begin(), out.end(), is_same)) out.push_back(std::move(c));
  }
  return out;
}

std::string conditions_help() {
  return fmt::format(
      "CONDITIONS have commas between them; status 1 says that one is met, standard error says which. One "
      "is\n"
      "  any, or a finding ({})\n"
      "  {}: a check fails that the report makes of its own figures\n"
      "  FIGURE>SIZE, such as rss>2G; of rss, counts (memory that counts), unexplained, or a cause of the "
      "ledger (live, holes, retained, "
      "files, ...)\n"
      "  lost>SIZE: bytes in blocks that nothing leads to, of --leaks\n"
      "  FIGURE>SHARE% of RSS, such as unexplained>5%\n"
      "  site.FIGURE>SIZE, or >NUMBER of blocks, of any one call site: {}\n"
      "Estimates count with the low end of their 95 % interval.\n",
      fmt::join(verdict_names(), ", "), kInconsistentWord, fmt::join(figure_names(), ", "));
}

void add_fail_on(CLI::App* command, std::string* conditions, const std::string& when) {
  // An empty word is most often a variable that a script forgot to set, and would check nothing.
  const auto is_given = [](const std::string& word) {
    return word.empty() ? "no condition is given, such as leak or holes>100M" : std::string();
  };
  command->add_option("--fail-on", *conditions, "End with status 1 if " + when)
      ->check(is_given, "")
      ->type_name("CONDITIONS");
}

}  // namespace mallard::cli
