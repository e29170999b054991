// SPDX-License-Identifier: Apache-2.0
#include "cli/report/report_json.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>

#include "cli/error.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;
/// Reports nest six levels; what prints JSON recurses.
constexpr int kDeepest = 32;
/// A report spends some 50 bytes on each value; "[[],[],[]..." spends 3, and 20 times as much in memory.
constexpr std::uint64_t kMostValues = 32'000'000;

/// The first bytes of what is compressed; empty where it is damaged.
std::string beginning_of_gzip(const std::string& text) {
  std::string out(64, '\0');
  z_stream stream{};
  constexpr int kGzip = 16;
  if (inflateInit2(&stream, kGzip + MAX_WBITS) != Z_OK) return {};
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(std::min<std::size_t>(text.size(), 65536));
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = inflate(&stream, Z_NO_FLUSH);
  out.resize(status == Z_OK || status == Z_STREAM_END ? out.size() - stream.avail_out : 0);
  inflateEnd(&stream);
  return out;
}

[[noreturn]] void refuse_size(const std::string& path) {
  throw Error(kUnreadable, fmt::format("'{}' is larger than any report", path), "give a .json report");
}

/// A pprof profile is a message of protobuf, as a rule compressed: its first field is a type of sample.
void refuse_profile(const std::string& text, const std::string& path) {
  const auto is_pprof = [](const std::string& t) { return t.size() > 2 && t[0] == '\n' && t[2] == '\b'; };
  const bool is_compressed = text.starts_with("\x1f\x8b");
  if (!is_pprof(is_compressed ? beginning_of_gzip(text) : text)) {
    if (!is_compressed) return;
    throw Error(kUnreadable, fmt::format("'{}' is compressed by gzip", path),
                "gunzip it first, or give - and a pipe");
  }
  throw Error(
      kUnreadable, fmt::format("'{}' is a pprof profile, and no report of mallard", path),
      "go tool pprof reads it; the report that 'mallard report --format pprof' made it of is the .json file");
}

std::string read_standard_input(const std::string& path) {
  std::string out;
  char buffer[65536];
  ssize_t r;
  while ((r = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0 || (r < 0 && errno == EINTR)) {
    if (r > 0) out.append(buffer, static_cast<std::size_t>(r));
    if (out.size() > kMostBytes) refuse_size(path);
  }
  if (r < 0) throw Error(kUnreadable, fmt::format("standard input cannot be read: {}", std::strerror(errno)));
  return out;
}

}  // namespace

std::string read_input(const std::string& path) {
  if (path == "-") return read_standard_input(path);
  const File file(path, path);
  if (file.size() > kMostBytes) refuse_size(path);
  return file.read(0, file.size());
}

Json parse_json(const std::string& text, const std::string& path) {
  std::uint64_t values = 0;
  const auto bound = [&](int depth, Json::parse_event_t event, const Json&) {
    using Event = Json::parse_event_t;
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && depth > kDeepest)
      throw Error(kUnreadable,
                  fmt::format("'{}' is no report: it nests deeper than {} levels", path, kDeepest));
    if ((opens || event == Event::value) && ++values > kMostValues) refuse_size(path);
    return true;
  };
  if (text.empty())
    throw Error(kUnreadable, fmt::format("'{}' is empty", path),
                "the process ended, or the disk was full, before the report was written");
  refuse_profile(text, path);
  try {
    return Json::parse(text, bound);
  } catch (const Json::parse_error& e) {
    throw Error(kUnreadable,
                fmt::format("'{}' is no JSON report: it breaks off or changes at byte {} of {}", path, e.byte,
                            text.size()),
                path.ends_with(".txt")
                    ? "the report for programs is the .json file beside it"
                    : "a report that was being written when the process ended stays cut off");
  } catch (const Json::out_of_range& e) {  // "1e400"
    const std::string_view what = e.what();
    throw Error(kUnreadable, fmt::format("'{}' is no report: {}", path, what.substr(what.find(']') + 2)));
  }
}

std::uint64_t unsigned_of(const Json& object, const char* field) {
  const Json& j = object.at(field);
  if (j.is_number_unsigned()) return j.get<std::uint64_t>();
  if (j.is_number_float()) {
    const double value = j.get<double>();
    if (value >= 0 && value < 1.8e19) return static_cast<std::uint64_t>(value);
  }
  throw Error(kUnreadable, fmt::format("the report's field '{}' is no number from 0 to 2^64", field));
}

std::uint64_t address_of(const Json& object, const char* field) {
  const auto text = object.at(field).get<std::string>();
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  if (text.starts_with("0x")) {
    const auto [stop, error] = std::from_chars(text.data() + 2, end, value, 16);
    if (error == std::errc() && stop == end) return value;
  }
  throw Error(kUnreadable, fmt::format("the report's field '{}' is no address of the form 0x1a2b", field));
}

}  // namespace mallard::cli
