// SPDX-License-Identifier: Apache-2.0
#include "cli/report/report_file.hpp"

#include <fmt/format.h>

#include "cli/error.hpp"
#include "cli/report/report_json.hpp"
#include "cli/report/schema_1.hpp"

namespace mallard::cli {
namespace {

constexpr int kSchemaVersion = 2;

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

/// A figure without companions, from exact books; 0 where the report has none.
Figure counted(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number()) return {};
  const double value = found->get<double>();
  return {value, value, value};
}

std::string text_or_empty(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// An index into a table of `count` entries.
std::size_t index_of(const Json& j, std::size_t count) {
  if (!j.is_number_unsigned() || j.get<std::uint64_t>() >= count)
    throw Error(kUnreadable,
                fmt::format("the report refers to entry {} of a table with {}", j.dump(), count));
  return j.get<std::size_t>();
}

ReportFrame read_frame(const Json& frame, const ReportFile& r) {
  const Json& module = frame.at("module");
  return {address_of(frame, "pc"), address_of(frame, "address"), unsigned_of(frame, "offset"),
          module.is_null() ? "" : r.modules[index_of(module, r.modules.size())].path,
          frame.at("function").get<std::string>()};
}

std::vector<ReportFrame> read_frames(const Json& j, const ReportFile& r) {
  std::vector<ReportFrame> frames;
  for (const Json& frame : j.at("frames")) {
    frames.push_back(read_frame(frame, r));
    frames.back().index = frames.size() - 1;
  }
  return frames;
}

ReportSite read_site(const Json& site, const std::vector<ReportFrame>& frames) {
  ReportSite s;
  s.id = site.at("id").get<std::int64_t>();
  for (const Json& index : site.at("stack")) {
    const ReportFrame& f = s.stack.emplace_back(frames[index_of(index, frames.size())]);
    s.key += f.module.empty() ? fmt::format("{:#x}\n", f.pc) : fmt::format("{}+{:#x}\n", f.module, f.address);
  }
  for (const report::FigureFacts& f : report::kFigures)
    f.of(s) = f.is_exact_only() ? counted(site, f.field) : figure(site, std::string(f.field));
  return s;
}

ReportModule read_module(const Json& m) {
  return {m.at("path").get<std::string>(), m.at("build_id").get<std::string>(), address_of(m, "begin"),
          address_of(m, "end"), address_of(m, "load_bias")};
}

void read_facts(const Json& j, ReportFile* r) {
  const Json &process = j.at("process"), &recording = j.at("recording"), &backend = j.at("backend");
  r->name = process.at("name").get<std::string>();
  r->executable = process.at("executable").get<std::string>();
  r->command_line = text_or_empty(process, "command_line");
  r->pid = process.at("pid").get<std::int64_t>();
  r->number = j.at("report_number").get<std::int64_t>();
  r->mallard_version = text_or_empty(j, "mallard_version");
  r->taken_at_ns = unsigned_of(j, "taken_at_ns");
  r->backend =
      fmt::format("{} {}", backend.at("name").get<std::string>(), backend.at("version").get<std::string>());
  r->mode = recording.at("mode").get<std::string>();
  r->sample_bytes = recording.at("sample_bytes").get<double>();
  r->recorded_ns = recording.contains("since_ns") ? unsigned_of(recording, "since_ns") : 0;
  r->rss_bytes = j.at("rss").at("total_bytes").get<double>();
  r->uptime_ns = process.contains("uptime_ns") ? unsigned_of(process, "uptime_ns") : 0;
  if (const auto totals = j.find("totals"); totals != j.end() && totals->is_object())
    r->live_bytes = figure(*totals, "live_bytes").value;
}

void read_line(const Json& line, std::size_t frames, ReportFile* r) {
  r->ledger.push_back({line.at("cause").get<std::string>(), figure(line, "bytes")});
  const auto details = line.find("details");
  if (details == line.end()) return;
  for (const Json& detail : *details)
    if (const Json& frame = detail.at("frame"); !frame.is_null()) index_of(frame, frames);
}

void read_rest(const Json& j, ReportFile* r) {
  if (const auto before = j.find("before_recording"); before != j.end() && before->is_object())
    r->before_bytes = counted(*before, "live_bytes").value;
  const auto others = j.find("other_sites");
  if (others == j.end() || !others->is_object()) return;
  r->others.sites = others->at("sites").get<std::int64_t>();
  for (const report::FigureFacts& f : report::kFigures)
    if (f.adds_up()) f.of(r->others) = counted(*others, f.field).value;
}

ReportFile interpret(Json& j, const std::string& path) {
  const int version = j.at("schema_version").get<int>();
  if (version == 1) upgrade_from_schema_1(&j);
  else if (version != kSchemaVersion)
    throw Error(kUnreadable,
                fmt::format("'{}' is a report of schema version {}; this command reads 1 to {}", path, version,
                            kSchemaVersion),
                "use the command of the mallard that wrote it");
  ReportFile r;
  r.path = path;
  read_facts(j, &r);
  if (const auto unexplained = j.find("unexplained_bytes"); unexplained != j.end() && !unexplained->is_null())
    r.unexplained_bytes = unexplained->get<double>();
  if (const auto ledger = j.find("ledger"); ledger != j.end() && !ledger->is_null())
    for (const Json& line : *ledger)
      read_line(line, j.at("frames").size(), &r);
  if (const auto verdict = j.find("verdict"); verdict != j.end() && verdict->is_object())
    r.verdict = {text_or_empty(*verdict, "cause"), text_or_empty(*verdict, "text"),
                 text_or_empty(*verdict, "next_step")};
  read_rest(j, &r);
  for (const Json& module : j.at("modules")) r.modules.push_back(read_module(module));
  r.sites = read_sites(j, r);
  return r;
}

}  // namespace

std::vector<ReportSite> read_sites(const nlohmann::ordered_json& document, const ReportFile& report) {
  const std::vector<ReportFrame> frames = read_frames(document, report);
  std::vector<ReportSite> sites;
  for (const Json& site : document.at("sites")) {
    sites.push_back(read_site(site, frames));
    sites.back().index = sites.size() - 1;
  }
  return sites;
}

ReportFile read_report(const std::string& path, nlohmann::ordered_json* document) {
  return parse_report(read_input(path), path == "-" ? "standard input" : path, document);
}

ReportFile parse_report(const std::string& text, const std::string& shown, nlohmann::ordered_json* document) {
  Json j = parse_json(text, shown);
  if (!j.is_object())
    throw Error(kUnreadable, fmt::format("'{}' is JSON, but no report of mallard: it is no object", shown));
  try {
    ReportFile report = interpret(j, shown);
    if (document) *document = std::move(j);
    return report;
  } catch (const Json::exception& e) {
    const std::string_view what = e.what();
    throw Error(kUnreadable, fmt::format("'{}' is JSON, but no report of mallard: {}", shown,
                                         what.substr(what.find(']') + 2)));
  }
}

std::string module_name(const ReportFile& report, const std::string& module) {
  return module == report.executable ? report.name : module.substr(module.rfind('/') + 1);
}

std::string frame_text(const ReportFile& report, const ReportFrame& f) {
  if (f.module.empty()) return fmt::format("{:#x}", f.pc);
  const std::string module = module_name(report, f.module);
  return f.function.empty() ? fmt::format("{}+{:#x}", module, f.address)
                            : fmt::format("{}  [{}]", f.function, module);
}

}  // namespace mallard::cli
