// SPDX-License-Identifier: Apache-2.0
// The report as one page that opens without a network: the bundle of cli/html/ and the report as JSON inside
// it. What the page is given (cli/html/data.js reads it):
//   report       the report's own JSON, without modules and sites
//   frames       [label, file, line or null, module, inlined], each once
//   site_fields  names of the columns of `sites`; the last is the stack: indices into frames, leaf first
//   causes       of the ledger, in its order: name, words, meaning
//   figures      of call sites: name, field, column, words, meaning, whether bytes, whether exact mode's
//   alone verdicts     name, words functions    totals by function, module_totals by module: as in --format
//   json series       of other reports of the process: when, RSS, live bytes, bytes by cause
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "cli/demangled.hpp"
#include "cli/html_page.hpp"
#include "cli/report/profile.hpp"
#include "cli/report/totals.hpp"
#include "report/model/figures.hpp"
#include "report/model/verdict_model.hpp"

namespace mallard::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Frames that stacks share.
class Frames {
 public:
  explicit Frames(const Profile& profile) : profile_(profile) {}

  Json indices(const report::SiteRow& row) {
    Json out = Json::array();
    for (const report::Frame* frame : stack_of(row))
      for (const report::SourceLine& line : lines_of(*frame)) out.push_back(index_of(*frame, line));
    return out;
  }
  Json release() { return std::move(all_); }

 private:
  using Key = std::tuple<std::string, std::string_view, int, std::string, bool>;

  std::size_t index_of(const report::Frame& frame, const report::SourceLine& line) {
    const std::string module =
        frame.module.empty() ? "" : printable(module_name(profile_.report, frame.module));
    Key key{label_of(profile_, frame, line), line.file, line.line, module, line.inlined};
    const auto [at, is_new] = known_.try_emplace(std::move(key), known_.size());
    if (is_new) {
      const auto& [label, file, number, name, inlined] = at->first;
      all_.push_back({label, file, number > 0 ? Json(number) : Json(nullptr), name, inlined});
    }
    return at->second;
  }

  const Profile& profile_;
  std::map<Key, std::size_t> known_;
  Json all_ = Json::array();
};

/// Stacks of slow calls become those of the page.
void lead_slow_calls(const report::Latency& latency, Frames* frames, Json* document) {
  for (std::size_t i = 0; i < latency.sites.size(); ++i) {
    Json& site = (*document)["latency"]["slow"]["sites"][i];
    if (!site.is_object() || latency.sites[i].row == report::LatencySite::kNoStack) continue;
    const report::SiteRow& row = latency.stacks[latency.sites[i].row];
    site["stack"] = frames->indices(row);
    site["named_by"] = naming_index(row);
  }
}

void add_sites(const Profile& profile, Json& document, Json* page) {
  std::set<std::string> fields;
  const Json& sites = document["sites"];
  for (const report::SiteRow* row : profile.sites)
    for (const auto& [name, value] : sites[profile.index_of(*row)].items())
      if (name != "stack" && !name.ends_with("_error")) fields.insert(name);
  fields.insert("named_by");
  Frames frames(profile);
  Json rows = Json::array();
  for (const report::SiteRow* shown : profile.sites) {
    Json& site = document["sites"][profile.index_of(*shown)];
    site["named_by"] = naming_index(*shown);
    Json& row = rows.emplace_back(Json::array());
    for (const std::string& name : fields) {
      const auto found = site.find(name);
      row.push_back(found == site.end() ? Json(nullptr) : std::move(*found));
    }
    row.push_back(frames.indices(*shown));
  }
  lead_slow_calls(profile.report.latency, &frames, &document);
  (*page)["sites"] = std::move(rows);
  (*page)["site_fields"] = fields;
  (*page)["site_fields"].push_back("stack");
  (*page)["frames"] = frames.release();
}

/// The page shows of a detail's frame the function only.
void name_details(Json* document) {
  const Json frames = std::move((*document)["frames"]);
  document->erase("frames");
  if (!document->contains("ledger")) return;
  for (Json& line : (*document)["ledger"])
    for (Json& detail : line["details"])
      if (const Json& frame = detail["frame"]; frame.is_number_unsigned())
        detail["function"] = frames[frame.get<std::size_t>()]["function"];
}

}  // namespace

std::string as_html(const Profile& profile, Json document, Json series) {
  require_html();
  Json page{{"command", MALLARD_VERSION},
            {"ranked_by", profile.by->name},
            {"sites_left_out", profile.sites_left_out},
            {"sites_unfocused", profile.sites_unfocused},
            {"series", std::move(series)},
            {"causes", causes_for_page()},
            {"figures", Json::array()},
            {"verdicts", Json::array()}};
  for (const report::FigureFacts& f : report::kFigures)
    page["figures"].push_back({{"name", f.name},
                               {"field", f.field},
                               {"column", f.column},
                               {"words", f.words},
                               {"meaning", f.meaning},
                               {"bytes", f.is_bytes()},
                               {"exact_only", f.is_exact_only()}});
  for (const report::VerdictFacts& verdict : report::kVerdicts)
    page["verdicts"].push_back({verdict.name, verdict.words});
  add_sites(profile, document, &page);
  name_details(&document);
  document.erase("sites");
  document.erase("modules");
  page["functions"] = totals_json(profile, totals_by_function(profile));
  page["module_totals"] = totals_json(profile, totals_by_module(profile));
  page["report"] = std::move(document);
  return html_page_of(page);
}

}  // namespace mallard::cli
