// SPDX-License-Identifier: Apache-2.0
// The options in force: read once from the environment, copied, never changed afterwards.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/parts.hpp"
#include "base/text.hpp"

namespace mallard {

enum class Mode : std::uint8_t { kSample, kOff, kExact };

enum class ProbeKind : std::uint8_t { kNone, kPurge };

/// What is done about an allocator inside the executable or one of its libraries.
enum class EmbeddedAction : std::uint8_t { kReport, kRedirect, kObserve };

/// What becomes of transparent huge pages.
enum class HugePages : std::uint8_t { kKeep, kOff };

/// The names of these values, indexed by them.
inline constexpr std::string_view kModeNames[] = {"sample", "off", "exact"};
inline constexpr std::string_view kProbeNames[] = {"none", "purge"};
inline constexpr std::string_view kEmbeddedNames[] = {"report", "redirect", "observe"};
inline constexpr std::string_view kHugePagesNames[] = {"keep", "off"};

inline constexpr std::uint64_t kMinSampleBytes = 1;
inline constexpr std::uint64_t kMaxSampleBytes = std::uint64_t{1} << 40;

/// A time between two events; 0 = never.
struct Interval {
  std::uint64_t ns;
};
inline constexpr std::uint64_t kMinIntervalNs = 10'000'000;
inline constexpr std::uint64_t kMaxIntervalNs = std::uint64_t{366} * 24 * 3600 * 1'000'000'000;

/// A number of calls.
struct Calls {
  std::uint32_t calls;
};
inline constexpr std::uint32_t kMaxCallsBetween = 1'000'000;

struct Options {
  char backend[1024] = "next";
  Mode mode = Mode::kSample;
  std::uint64_t sample_bytes = 512 * 1024;
  int signal = 12;  ///< SIGUSR2; 0 = none
  char report[1024] = "mallard.%e.%p.%n";
  ProbeKind probe = ProbeKind::kNone;
  EmbeddedAction embedded = EmbeddedAction::kReport;
  bool keep_deepbind = false;
  Interval interval = {0};
  bool at_exit = false;
  bool control = false;
  bool latency = false;
  Calls latency_every = {64};
  bool strict = false;
  bool verbose = false;
  HugePages huge_pages = HugePages::kKeep;
  char wrappers[1024] = "";
  char temporary_directory[256] = "/tmp";  ///< TMPDIR, where reports go if ALLOC_REPORT cannot be written
};

/// The options in force as the `mallard` command finds them in another process's memory: a program may
/// overwrite its environment (setproctitle does), but not this. Lies in the writable data of libmallard.so.
struct OptionsInForce {
  char mark[24];
  std::uint64_t bytes;  ///< of this structure: another value is another build
  Options options;
  char serves[32];  ///< the backend that was chosen, which `next` does not tell; empty at first
};
inline constexpr char kOptionsMark[24] = "mallard's options: 1";

/// Reads the variables of options.def from `environment` (NULL-terminated, may be nullptr). A value that
/// cannot be used gets one line on stderr and the default stays.
/// \return false if some value could not be used
/// \context init
bool read_options(char* const* environment, Options* out) noexcept;

/// \return what `variable` expects if `value` cannot be used; nullptr if it can, or if there is no such
/// variable
const char* what_is_expected(std::string_view variable, std::string_view value) noexcept;

/// The options in force. \context any, after init
const Options& options() noexcept;
void set_options(const Options& options) noexcept;
bool options_adopt(const OtherParts& parts) noexcept;  ///< \context offline
/// Says who serves, once that is final. \context init
void set_serving_backend(std::string_view name) noexcept;

/// "SIGUSR2", "usr2", "12", "none" (0) or "RTMIN+3". \return -1 for anything else
int parse_signal(std::string_view text) noexcept;
/// The signal's name for messages, e.g. "SIGUSR2"; "none" for 0.
void add_signal_name(TextBuffer& to, int signal) noexcept;

/// Value of `name` in `environment`, or nullptr. Never calls getenv: programs export their own.
const char* find_variable(char* const* environment, std::string_view name) noexcept;

}  // namespace mallard
