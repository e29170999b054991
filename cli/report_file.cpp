// SPDX-License-Identifier: Apache-2.0
#include "cli/report_file.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

using Json = nlohmann::json;

constexpr int kSchemaVersion = 1;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

Figure figure(const Json& object, const std::string& name) {
  Figure f;
  if (!object.contains(name) || object[name].is_null()) return f;
  f.value = object[name].get<double>();
  const auto bound = [&](const char* which) -> std::optional<double> {
    const std::string field = name + which;
    if (!object.contains(field) || object[field].is_null()) return {};
    return object[field].get<double>();
  };
  f.low = bound("_low");
  f.high = bound("_high");
  return f;
}

std::string base_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// The executable goes by the name under which it was started, as in the text report.
ReportSite read_site(const Json& site, const std::string& executable, const std::string& name) {
  ReportSite s;
  for (const Json& frame : site.at("stack")) {
    const auto module = frame.at("module").get<std::string>(),
               address = frame.at("address").get<std::string>();
    const auto function = frame.at("function").get<std::string>();
    const auto pc = frame.at("pc").get<std::string>();
    const std::string shown = module == executable ? name : base_of(module);
    s.key += module.empty() ? pc : module + "+" + address;
    s.key += '\n';
    if (!function.empty()) s.frames.push_back(fmt::format("{}  [{}]", function, shown));
    else s.frames.push_back(module.empty() ? pc : fmt::format("{}+{}", shown, address));
  }
  s.live_bytes = figure(site, "live_bytes");
  s.live_count = figure(site, "live_count");
  s.allocated_bytes = figure(site, "allocated_bytes");
  s.resident_bytes = figure(site, "resident_bytes");
  s.hole_bytes = figure(site, "hole_bytes");
  return s;
}

ReportFile interpret(const Json& j, const std::string& path) {
  const int version = j.at("schema_version").get<int>();
  if (version != kSchemaVersion)
    throw Error(kUnreadable,
                fmt::format("'{}' is a report of schema version {}; this command reads {}", path, version,
                            kSchemaVersion),
                "use the command of the mallard that wrote it");
  ReportFile r;
  r.path = path;
  r.name = j.at("process").at("name").get<std::string>();
  r.pid = j.at("process").at("pid").get<std::int64_t>();
  r.number = j.at("report_number").get<std::int64_t>();
  r.taken_at_ns = j.at("taken_at_ns").get<std::uint64_t>();
  r.backend = fmt::format("{} {}", j.at("backend").at("name").get<std::string>(),
                          j.at("backend").at("version").get<std::string>());
  r.mode = j.at("recording").at("mode").get<std::string>();
  r.sample_bytes = j.at("recording").at("sample_bytes").get<double>();
  r.rss_bytes = j.at("rss").at("total_bytes").get<double>();
  if (const auto unexplained = j.find("unexplained_bytes"); unexplained != j.end() && !unexplained->is_null())
    r.unexplained_bytes = unexplained->get<double>();
  if (const auto ledger = j.find("ledger"); ledger != j.end() && !ledger->is_null())
    for (const Json& line : *ledger)
      r.ledger.push_back({line.at("cause").get<std::string>(), figure(line, "bytes")});
  const auto executable = j.at("process").at("executable").get<std::string>();
  for (const Json& site : j.at("sites")) r.sites.push_back(read_site(site, executable, r.name));
  return r;
}

}  // namespace

ReportFile read_report(const std::string& path) {
  const File file(path, path);
  if (file.size() > kMostBytes)
    throw Error(kUnreadable, fmt::format("'{}' is larger than any report", path), "give a .json report");
  const std::string text = file.read(0, file.size());
  try {
    return interpret(Json::parse(text), path);
  } catch (const Json::parse_error& e) {
    throw Error(kUnreadable,
                fmt::format("'{}' is no JSON report: it breaks off or changes at byte {} of {}", path, e.byte,
                            text.size()),
                path.ends_with(".txt")
                    ? "the report for programs is the .json file beside it"
                    : "a report that was being written when the process ended stays cut off");
  } catch (const Json::exception& e) {
    const std::string_view what = e.what();
    throw Error(kUnreadable, fmt::format("'{}' is JSON, but no report of mallard: {}", path,
                                         what.substr(what.find(']') + 2)));
  }
}

}  // namespace mallard::cli
