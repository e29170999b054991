// SPDX-License-Identifier: Apache-2.0
#include "base/options.hpp"

#include <signal.h>
#include <string.h>

#include <span>

#include "base/attributes.hpp"
#include "base/say.hpp"
#include "base/times.hpp"

namespace mallard {
namespace {

/// The mark is set when the options are: who finds it finds them complete.
constinit OptionsInForce g_in_force{"", sizeof(OptionsInForce), {}, ""};
MALLARD_PART(options, g_in_force);

struct SignalName {
  std::string_view name;
  int number;
};

constexpr SignalName kSignals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT},     {"USR1", SIGUSR1},   {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},     {"CHLD", SIGCHLD},   {"CONT", SIGCONT},
    {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},     {"XCPU", SIGXCPU},
    {"XFSZ", SIGXFSZ}, {"PROF", SIGPROF}, {"VTALRM", SIGVTALRM}, {"WINCH", SIGWINCH}, {"IO", SIGIO},
    {"PWR", SIGPWR},
};

// Numbers of the kernel's interface; SIGRTMIN is what a program sees, two above the kernel's first.
constexpr int kRtMin = 34, kRtMax = 64;

bool is_catchable(int signal) noexcept {
  return signal > 0 && signal <= kRtMax && signal != SIGKILL && signal != SIGSTOP && signal != 32 &&
         signal != 33;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    char c = a[i] >= 'a' && a[i] <= 'z' ? static_cast<char>(a[i] - 32) : a[i];
    if (c != b[i]) return false;
  }
  return true;
}

bool parse(std::string_view value, char (&to)[1024]) noexcept {
  if (value.empty() || value.size() >= sizeof to) return false;
  memcpy(to, value.data(), value.size());
  to[value.size()] = '\0';
  return true;
}

bool parse(std::string_view value, bool& to) noexcept {
  if (value != "0" && value != "1") return false;
  to = value == "1";
  return true;
}

/// \param names  indexed by the values of the enumeration
template <typename Enumeration>
bool parse_name(std::string_view value, std::span<const std::string_view> names, Enumeration& to) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (value != names[i]) continue;
    to = static_cast<Enumeration>(i);
    return true;
  }
  return false;
}
bool parse(std::string_view value, Mode& to) noexcept { return parse_name(value, kModeNames, to); }
bool parse(std::string_view value, ProbeKind& to) noexcept { return parse_name(value, kProbeNames, to); }
bool parse(std::string_view value, HugePages& to) noexcept { return parse_name(value, kHugePagesNames, to); }
bool parse(std::string_view value, EmbeddedAction& to) noexcept {
  return parse_name(value, kEmbeddedNames, to);
}

bool parse(std::string_view value, std::uint64_t& to) noexcept {
  std::uint64_t bytes;
  if (!parse_bytes(value, &bytes) || bytes < kMinSampleBytes || bytes > kMaxSampleBytes) return false;
  to = bytes;
  return true;
}

bool parse(std::string_view value, int& to) noexcept {
  int signal = parse_signal(value);
  if (signal < 0) return false;
  to = signal;
  return true;
}

/// A whole number with ms, s (the default), m or h.
bool parse(std::string_view value, Interval& to) noexcept {
  std::size_t digits = 0;
  std::uint64_t number = 0;
  for (; digits < value.size() && value[digits] >= '0' && value[digits] <= '9'; ++digits) {
    if (number > kMaxIntervalNs) return false;
    number = number * 10 + static_cast<std::uint64_t>(value[digits] - '0');
  }
  const std::string_view unit = part_of(value, digits);
  std::uint64_t unit_ns = 0;
  if (unit == "ms") unit_ns = 1'000'000;
  else if (unit.empty() || unit == "s") unit_ns = kNsPerSecond;
  else if (unit == "m") unit_ns = 60'000'000'000;
  else if (unit == "h") unit_ns = 3'600'000'000'000;
  std::uint64_t ns;
  if (digits == 0 || unit_ns == 0 || __builtin_mul_overflow(number, unit_ns, &ns)) return false;
  if (ns != 0 && (ns < kMinIntervalNs || ns > kMaxIntervalNs)) return false;
  to.ns = ns;
  return true;
}

/// A whole number.
bool parse(std::string_view value, Calls& to) noexcept {
  std::uint64_t number;
  for (const char c : value)
    if (c < '0' || c > '9') return false;
  if (!parse_bytes(value, &number) || number == 0 || number > kMaxCallsBetween) return false;
  to.calls = static_cast<std::uint32_t>(number);
  return true;
}

constexpr const char* expectation(const char (&)[1024]) noexcept { return "1 to 1023 characters"; }
constexpr const char* expectation(Interval) noexcept {
  return "0, or a time from 10ms to 366 days: 10s, 500ms, 5m, 1h";
}
constexpr const char* expectation(Calls) noexcept { return "a number of calls from 1 to 1000000"; }
constexpr const char* expectation(bool) noexcept { return "0 or 1"; }
constexpr const char* expectation(Mode) noexcept { return "sample, exact or off"; }
constexpr const char* expectation(ProbeKind) noexcept { return "none or purge"; }
constexpr const char* expectation(EmbeddedAction) noexcept { return "report, redirect or observe"; }
constexpr const char* expectation(HugePages) noexcept { return "keep or off"; }
constexpr const char* expectation(std::uint64_t) noexcept { return "a number of bytes from 1 to 1T"; }
constexpr const char* expectation(int) noexcept { return "a signal's name or number, or none"; }

}  // namespace

int parse_signal(std::string_view text) noexcept {
  if (equal_ignoring_case(text, "NONE") || text == "0") return 0;
  std::uint64_t number;
  if (!text.empty() && text[0] >= '0' && text[0] <= '9')
    return parse_bytes(text, &number) && is_catchable(static_cast<int>(number & 0xff)) && number <= kRtMax
               ? static_cast<int>(number)
               : -1;
  if (text.size() > 3 && equal_ignoring_case(part_of(text, 0, 3), "SIG")) text.remove_prefix(3);
  for (const SignalName& s : kSignals)
    if (equal_ignoring_case(text, s.name)) return s.number;
  const bool from_min = text.size() >= 5 && equal_ignoring_case(part_of(text, 0, 5), "RTMIN");
  if (!from_min && !(text.size() >= 5 && equal_ignoring_case(part_of(text, 0, 5), "RTMAX"))) return -1;
  const int base = from_min ? kRtMin : kRtMax;
  if (text.size() == 5) return base;
  if (text[5] != (from_min ? '+' : '-') || !parse_bytes(part_of(text, 6), &number) ||
      number > static_cast<std::uint64_t>(kRtMax - kRtMin))
    return -1;
  return from_min ? base + static_cast<int>(number) : base - static_cast<int>(number);
}

void add_signal_name(TextBuffer& to, int signal) noexcept {
  if (signal == 0) {
    to.add("none");
    return;
  }
  for (const SignalName& s : kSignals)
    if (s.number == signal) {
      to.add("SIG").add(s.name);
      return;
    }
  to.add("SIGRTMIN+").add_signed(signal - kRtMin);
}

const char* find_variable(char* const* environment, std::string_view name) noexcept {
  if (!environment) return nullptr;
  for (; *environment; ++environment) {
    const char* entry = *environment;
    std::size_t i = 0;
    while (i < name.size() && entry[i] == name[i]) ++i;
    if (i == name.size() && entry[i] == '=') return entry + i + 1;
  }
  return nullptr;
}

bool read_options(char* const* environment, Options* out) noexcept {
  bool all_good = true;
#define OPTION(field, kind, variable, preset, help)                              \
  if (const char* value = find_variable(environment, variable); value && *value) \
    if (!parse(view_of(value), out->field)) {                                    \
      say::bad_option(variable, value, expectation(out->field), preset);         \
      all_good = false;                                                          \
    }
#include "base/options.def"
#undef OPTION
  if (const std::string_view t = view_of(find_variable(environment, "TMPDIR"));
      !t.empty() && t.size() < sizeof out->temporary_directory) {
    memcpy(out->temporary_directory, t.data(), t.size());
    out->temporary_directory[t.size()] = '\0';
  }
  return all_good;
}

const char* what_is_expected(std::string_view variable, std::string_view value) noexcept {
  Options scratch;
#define OPTION(field, kind, name, preset, help) \
  if (variable == name) return parse(value, scratch.field) ? nullptr : expectation(scratch.field);
#include "base/options.def"
#undef OPTION
  return nullptr;
}

MALLARD_FORK_TEXT const Options& options() noexcept { return g_in_force.options; }
bool options_adopt(const OtherParts& parts) noexcept { return parts.adopt(g_in_force); }
void set_serving_backend(std::string_view name) noexcept {
  const std::size_t n = name.size() < sizeof g_in_force.serves ? name.size() : sizeof g_in_force.serves - 1;
  memcpy(g_in_force.serves, name.data(), n);
  g_in_force.serves[n] = '\0';
}

void set_options(const Options& options) noexcept {
  g_in_force.options = options;
  memcpy(g_in_force.mark, kOptionsMark, sizeof kOptionsMark);
}

}  // namespace mallard
