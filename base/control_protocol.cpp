// SPDX-License-Identifier: Apache-2.0
#include "base/control_protocol.hpp"

#include <sys/un.h>

namespace mallard {
namespace {

/// Takes `word` off the front. \return false if something else stands there
bool skip_word(std::string_view& from, std::string_view word) noexcept {
  if (part_of(from, 0, word.size()) != word) return false;
  from = part_of(from, word.size());
  return true;
}

constexpr Mode kModes[] = {Mode::kSample, Mode::kExact, Mode::kOff};

void read_mode(std::string_view& line, ControlRequest* request) noexcept {
  for (const Mode mode : kModes)
    if (!request->switches && skip_word(line, mode_name(mode))) {
      request->switches = true;
      request->mode = mode;
    }
}

}  // namespace

std::string_view mode_name(Mode mode) noexcept {
  switch (mode) {
    case Mode::kExact:
      return "exact";
    case Mode::kOff:
      return "off";
    case Mode::kSample:
      break;
  }
  return "sample";
}

bool parse_control(std::string_view line, ControlRequest* out, const char** why_not) noexcept {
  *why_not = "the request is not one of this version of mallard";
  if (!skip_word(line, "mallard 1 ")) return false;
  *why_not =
      "the request is not mode, mode sample, mode exact, mode off, mode latency, mode latency=off or purge";
  ControlRequest request{};
  if (skip_word(line, "purge")) {
    request.verb = ControlVerb::kPurge;
  } else if (skip_word(line, "mode")) {
    request.verb = ControlVerb::kMode;
    if (skip_word(line, " ")) {
      if (skip_word(line, kEndTiming)) request.timing = Timing::kEnds;
      else if (skip_word(line, kBeginTiming)) request.timing = Timing::kBegins;
      else read_mode(line, &request);
      if (!request.switches && request.timing == Timing::kAsItIs) return false;
    }
  } else {
    return false;
  }
  if (line != "\n") return false;
  *out = request;
  return true;
}

const char* control_directory(const Options& options, int index) noexcept {
  // As much of a socket's address as the names below it need: "/mallard-2147483647-ffffffff/control".
  constexpr std::size_t kLongest = sizeof sockaddr_un{}.sun_path - 40;
  const std::string_view own = view_of(options.temporary_directory);
  const bool own_fits = !own.empty() && own[0] == '/' && own.size() <= kLongest && own != "/tmp";
  if (own_fits && index-- == 0) return options.temporary_directory;
  return index == 0 ? "/tmp" : index == 1 ? "/dev/shm" : nullptr;
}

void add_control_name(TextBuffer& to, int process_id, std::uint32_t number) noexcept {
  to.add("mallard-").add_signed(process_id).add('-').add_unsigned(number, 16, 8);
}

}  // namespace mallard
