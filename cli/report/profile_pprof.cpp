// SPDX-License-Identifier: Apache-2.0
// The report as a profile for pprof and continuous-profiling servers.
#include <fmt/format.h>
#include <profile.pb.h>
#include <zlib.h>

#include <initializer_list>
#include <map>
#include <tuple>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/report/profile.hpp"
#include "cli/units.hpp"

namespace mallard::cli {
namespace {

class Encoder {
 public:
  explicit Encoder(const Profile& profile) : profile_(profile), report_(profile.report) { text(""); }

  pprof::Profile encode() {
    for (const report::FigureFacts& f : report::kFigures) {
      if (!is_in_profile(f)) continue;
      pprof::ValueType* type = out_.add_sample_type();
      type->set_type(text(f.pprof_type));
      type->set_unit(text(f.is_bytes() ? "bytes" : "count"));
      if (&f == profile_.by) out_.set_default_sample_type(type->type());
    }
    add_mappings();
    for (const report::SiteRow* row : profile_.sites) add_sample(*row);
    out_.set_time_nanos(static_cast<std::int64_t>(report_.process.taken_at_ns));
    out_.set_duration_nanos(static_cast<std::int64_t>(report_.recording.since_ns));
    out_.mutable_period_type()->set_type(text("space"));
    out_.mutable_period_type()->set_unit(text("bytes"));
    out_.set_period(static_cast<std::int64_t>(report_.recording.sample_bytes));
    comment(fmt::format("mallard {}, {}, pid {}, report {}, {}", report_.mallard_version,
                        report_.process.name, report_.process.pid, report_.number, allocator_text(report_)));
    if (report_.others.sites > 0)
      comment(fmt::format("{} more sites, which lead by no figure, are left out: {} live",
                          report_.others.sites, bytes_text(report_.others.live_bytes)));
    comment("resident memory: " + bytes_text(profile_.file->rss_bytes()));
    if (!profile_.file->verdict.empty())
      comment(fmt::format("verdict: {}: {}", profile_.file->verdict, report_.verdict.text));
    return std::move(out_);
  }

 private:
  bool is_in_profile(const report::FigureFacts& f) const { return !f.pprof_type.empty() && profile_.has(f); }

  std::int64_t text(std::string_view s) {
    const auto [at, is_new] = texts_.try_emplace(printable(s), static_cast<std::int64_t>(texts_.size()));
    if (is_new) out_.add_string_table(at->first);
    return at->second;
  }

  void comment(std::string_view s) { out_.add_comment(text(s)); }

  /// The executable must be the first.
  void add_mappings() {
    mapping_ids_.resize(report_.modules.size());
    for (const bool executable : {true, false})
      for (std::size_t i = 0; i < report_.modules.size(); ++i) {
        const report::ModuleRow& m = report_.modules[i];
        if ((m.path == report_.process.executable) != executable) continue;
        pprof::Mapping* mapping = out_.add_mapping();
        mapping->set_id(mapping_ids_[i] = static_cast<std::uint64_t>(out_.mapping_size()));
        mapping->set_memory_start(m.begin);
        mapping->set_memory_limit(m.end);
        mapping->set_file_offset(m.begin - m.load_bias);
        mapping->set_filename(text(m.path));
        mapping->set_build_id(text(m.build_id));
      }
  }

  void add_sample(const report::SiteRow& row) {
    pprof::Sample* sample = out_.add_sample();
    for (const report::Frame* frame : stack_of(row)) sample->add_location_id(location(*frame));
    for (const report::FigureFacts& f : report::kFigures)
      if (is_in_profile(f)) sample->add_value(whole(f.of(row).value));
    pprof::Label* label = sample->add_label();
    label->set_key(text("site"));
    label->set_num(row.id);
  }

  std::uint64_t location(const report::Frame& frame) {
    const auto [at, is_new] = locations_.try_emplace(&frame, locations_.size() + 1);
    if (!is_new) return at->second;
    pprof::Location* l = out_.add_location();
    l->set_id(at->second);
    l->set_address(frame.pc - 1);
    const std::vector<report::SourceLine> lines = lines_of(frame);
    if (frame.module_index >= 0) {
      l->set_mapping_id(mapping_ids_[static_cast<std::size_t>(frame.module_index)]);
      pprof::Mapping* mapping = out_.mutable_mapping(static_cast<int>(l->mapping_id()) - 1);
      mapping->set_has_functions(true);
      mapping->set_has_inline_frames(mapping->has_inline_frames() || !frame.lines.empty());
      mapping->set_has_filenames(mapping->has_filenames() || !lines.back().file.empty());
      mapping->set_has_line_numbers(mapping->has_filenames());
    }
    for (const report::SourceLine& line : lines) {
      pprof::Line* to = l->add_line();
      to->set_function_id(function(label_of(profile_, frame, line), line.file));
      to->set_line(line.line);
    }
    return at->second;
  }

  std::uint64_t function(const std::string& name, std::string_view file) {
    const auto [at, is_new] = functions_.try_emplace({name, file}, functions_.size() + 1);
    if (!is_new) return at->second;
    pprof::Function* f = out_.add_function();
    f->set_id(at->second);
    f->set_name(text(name));
    f->set_system_name(text(name));
    f->set_filename(text(file));
    return at->second;
  }

  const Profile& profile_;
  const report::Snapshot& report_;
  pprof::Profile out_;
  std::map<std::string, std::int64_t> texts_;
  std::vector<std::uint64_t> mapping_ids_;
  std::map<const report::Frame*, std::uint64_t> locations_;
  std::map<std::pair<std::string, std::string_view>, std::uint64_t> functions_;
};

/// \throws Error where there is no memory left
std::string gzipped(const std::string& plain) {
  constexpr int kGzip = 16;  // added to the window's bits: a gzip header, with no time in it
  z_stream z{};
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw Error(kUnreadable, "the profile cannot be compressed: zlib has no memory");
  std::string out(deflateBound(&z, plain.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  z.avail_in = static_cast<uInt>(plain.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  if (status != Z_STREAM_END)
    throw Error(kUnreadable, fmt::format("the profile cannot be compressed: zlib says {}", status));
  return out;
}

}  // namespace

std::string as_pprof(const Profile& profile) {
  std::string plain;
  // Protocol buffers, and zlib in one step, end at 2 GiB.
  if (!Encoder(profile).encode().SerializeToString(&plain) || plain.size() > 0x7fff'0000u)
    throw Error(kUnreadable, "the profile is too large for protocol buffers", "use --limit");
  return gzipped(plain);
}

}  // namespace mallard::cli
