// SPDX-License-Identifier: Apache-2.0
#include "cli/report/report_file.hpp"

#include <fmt/format.h>

#include "cli/error.hpp"
#include "cli/report/report_json.hpp"
#include "cli/report/schema_1.hpp"
#include "cli/report/snapshot_of.hpp"
#include "report/model/naming.hpp"

namespace mallard::cli {
namespace {

void read_document(Json& j, ReportFile* report) {
  const int version = j.at("schema_version").get<int>();
  if (version == 1) upgrade_from_schema_1(&j);
  else if (version != report::kSchemaVersion)
    throw Error(kUnreadable,
                fmt::format("'{}' is a report of schema version {}; this command reads 1 to {}", report->path,
                            version, report::kSchemaVersion),
                "use the command of the mallard that wrote it");
  SnapshotOf(j, report);
  report->rows = read_sites(j, report);
  report->data.sites = report->rows.data();
  report->data.site_count = static_cast<std::uint32_t>(report->rows.size());
  name_sites(report, {});
}

}  // namespace

ReportFile read_report(const std::string& path, Json* document) {
  return parse_report(read_input(path), path == "-" ? "standard input" : path, document);
}

ReportFile parse_report(const std::string& text, const std::string& shown, Json* document) {
  Json j = parse_json(text, shown);
  if (!j.is_object())
    throw Error(kUnreadable, fmt::format("'{}' is JSON, but no report of mallard: it is no object", shown));
  try {
    ReportFile report{.path = shown};
    read_document(j, &report);
    if (document) *document = std::move(j);
    return report;
  } catch (const Json::exception& e) {
    const std::string_view what = e.what();
    throw Error(kUnreadable, fmt::format("'{}' is JSON, but no report of mallard: {}", shown,
                                         what.substr(what.find(']') + 2)));
  }
}

void name_sites(ReportFile* report, const std::string& wrappers) {
  std::string_view& all = report->data.wrappers;
  if (!wrappers.empty()) all = report->storage.text(fmt::format("{} {}", all, wrappers));
  Arena arena;
  report::name_sites(arena, report->rows, all);
  report::name_sites(arena, report->data.latency.stacks, all);
}

std::string allocator_text(const report::Snapshot& s) {
  return fmt::format("{} {}", s.allocator.name, s.allocator.version);
}

std::string module_name(const report::Snapshot& s, std::string_view module) {
  return std::string(module == s.process.executable ? s.process.name : module.substr(module.rfind('/') + 1));
}

std::string frame_text(const report::Snapshot& s, const report::Frame& f) {
  if (f.module.empty()) return f.function.empty() ? fmt::format("{:#x}", f.pc) : std::string(f.function);
  const std::string module = module_name(s, f.module);
  return f.function.empty() ? fmt::format("{}+{:#x}", module, f.module_address)
                            : fmt::format("{}  [{}]", f.function, module);
}

}  // namespace mallard::cli
