// SPDX-License-Identifier: Apache-2.0
#include "interpose/odd_variables.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/nearest.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "base/started.hpp"

namespace mallard::interpose {
namespace {

constexpr std::string_view kPrefix = "ALLOC_";
constexpr std::string_view kKnown[] = {
#define OPTION(field, kind, variable, preset, help) variable,
#include "base/options.def"
#undef OPTION
};

/// The part of a name that can be misspelt, so that the prefix makes nothing near.
constexpr std::string_view behind_prefix(std::string_view name) noexcept {
  return part_of(name, kPrefix.size());
}

/// The variable that was meant by one of another name; empty where that is none of ours.
std::string_view meant_by(std::string_view name) noexcept {
  std::string_view tails[std::size(kKnown)];
  for (std::size_t i = 0; i < std::size(kKnown); ++i) {
    if (name == kKnown[i]) return {};
    tails[i] = behind_prefix(kKnown[i]);
  }
  const std::string_view tail = nearest(behind_prefix(name), tails);
  return tail.empty() ? tail : std::string_view(tail.data() - kPrefix.size(), tail.size() + kPrefix.size());
}

struct Contradiction {
  std::string_view what, why;
};

bool is_set(const char* variable) noexcept {
  const char* value = find_variable(environ, variable);
  return value && *value;
}

/// \return an empty one where there is none
Contradiction contradiction() noexcept {
  const Options& o = options();
  if (o.signal == 0 && o.interval.ns != 0)
    return {"ALLOC_INTERVAL", "ALLOC_SIGNAL is none, and its reports come as that signal"};
  if (o.signal == 0 && o.probe == ProbeKind::kPurge)
    return {"ALLOC_PROBE=purge", "ALLOC_SIGNAL is none, and only a report that is asked for purges"};
  if (o.mode == Mode::kOff && is_set("ALLOC_SAMPLE_BYTES"))
    return {"ALLOC_SAMPLE_BYTES", "ALLOC_MODE is off, and nothing is sampled"};
  return {};
}

/// Whether the parent was told to preload mallard, and so has said all this.
bool parent_has_said_so() noexcept {
  FixedText<32> path;
  path.add("/proc/").add_unsigned(static_cast<unsigned>(os::call(SYS_getppid))).add("/environ");
  const long fd = os::open(path.c_str(), O_RDONLY);
  if (fd < 0) return false;
  constexpr std::string_view kVariable = "LD_PRELOAD=";
  FixedText<1024> entry;
  bool found = false;
  char piece[512];
  for (long n; !found && (n = os::read(static_cast<int>(fd), piece, sizeof piece)) > 0;)
    for (long i = 0; i < n && !found; ++i) {
      if (piece[i] != '\0') {
        entry.add(piece[i]);
        continue;
      }
      found = part_of(entry.view(), 0, kVariable.size()) == kVariable &&
              entry.view().find("libmallard.so") != std::string_view::npos;
      entry.clear();
    }
  os::close(static_cast<int>(fd));
  return found;
}

}  // namespace

bool is_first_process() noexcept {
  const char* started = find_variable(environ, kStartedVariable);
  return !started || parse_started(view_of(started)).process_id == getpid();
}

void tell_odd_variables() noexcept {
  if (!is_first_process()) return;
  enum class Asked : std::uint8_t { kNot, kMayTell, kTold } asked = Asked::kNot;
  const auto may_tell = [&asked]() noexcept {
    if (asked == Asked::kNot) asked = parent_has_said_so() ? Asked::kTold : Asked::kMayTell;
    return asked == Asked::kMayTell;
  };
  for (char* const* e = environ; e && *e; ++e) {
    if (**e != kPrefix[0]) continue;  // most are not even measured
    const std::string_view entry = view_of(*e);
    if (part_of(entry, 0, kPrefix.size()) != kPrefix) continue;
    const std::string_view name = part_of(entry, 0, entry.find('='));
    if (name == kStartedVariable) continue;
    const std::string_view meant = meant_by(name);
    if (!meant.empty() && may_tell()) say::unknown_variable(name, meant);
  }
  const Contradiction c = contradiction();
  if (!c.what.empty() && may_tell()) say::contradiction(c.what, c.why);
}

}  // namespace mallard::interpose
