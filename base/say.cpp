// SPDX-License-Identifier: Apache-2.0
#include "base/say.hpp"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "base/options.hpp"
#include "base/os.hpp"
#include "base/signal_mask.hpp"

namespace mallard::say {
namespace {

constinit dev_t g_device = 0;
constinit ino_t g_inode = 0;
constinit bool g_remembered = false;
constinit bool g_is_terminal = false;

bool stat_stderr(struct stat* to) noexcept { return os::call(SYS_fstat, 2, os::arg(to)) == 0; }

bool is_the_same(const struct stat& now) noexcept { return now.st_dev == g_device && now.st_ino == g_inode; }

bool is_still_stderr() noexcept {
  struct stat now;
  if (!g_remembered || !stat_stderr(&now))
    return false;  // closed at the start: whatever is 2 now is the host's
  if (is_the_same(now)) return true;
  return S_ISCHR(now.st_mode) ||
         S_ISFIFO(now.st_mode);  // a daemon's new stderr; a regular file may be its data
}

bool never_waits() noexcept {
  struct stat now;
  return stat_stderr(&now) && (S_ISREG(now.st_mode) || S_ISCHR(now.st_mode));
}

void emit(TextBuffer& line) noexcept {
  if (!is_still_stderr()) return;
  pollfd stderr_fd{2, POLLOUT, 0};
  const timespec at_once{};
  // A pipe that nobody empties would hold the host up: the line is dropped. Where the kernel does not tell (a
  // filter, RLIMIT_NOFILE 0), only what never waits is written to.
  const long ready = os::call(SYS_ppoll, os::arg(&stderr_fd), 1, os::arg(&at_once), 0, sizeof(SignalSet));
  if (ready == 0 || (ready < 0 && !never_waits())) return;
  WriteSignalsHeld held;
  const std::string_view text = line.view();
  os::write_all(2, text.data(), text.size());
}

bool is_terminal() noexcept {
  struct stat now;
  return g_is_terminal && stat_stderr(&now) && is_the_same(now);
}

using Line = FixedText<4096>;
constexpr std::string_view kErrorWords = "mallard: error: ";

constinit LastFailure g_failure{"mallard's failure: 1", 0, ""};

/// Two failures at once may mix their words, which end in time all the same.
void remember_failure(std::string_view what) noexcept {
  const std::size_t n = what.size() < sizeof g_failure.text ? what.size() : sizeof g_failure.text - 1;
  memcpy(g_failure.text, what.data(), n);
  g_failure.text[n] = '\0';
  __atomic_fetch_add(&g_failure.count, 1, __ATOMIC_RELEASE);  // the reader is another process
}

constinit Notices g_notices{"mallard's notices: 1", 0, ""};

/// Lines of several threads lie one behind the other; what has no room is left out.
void remember_notice(std::string_view line) noexcept {
  const auto bytes = static_cast<std::uint32_t>(line.size());
  std::uint32_t at = __atomic_load_n(&g_notices.bytes, __ATOMIC_RELAXED);
  do
    if (bytes > sizeof g_notices.text - at) return;
  while (!__atomic_compare_exchange_n(&g_notices.bytes, &at, at + bytes, false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED));
  memcpy(g_notices.text + at, line.data(), bytes);
}

/// What is no error of what was asked for. Many a host takes any line on the standard error of what it runs
/// for a failure (Tcl's exec, test runners), and nobody reads it there.
void emit_notice(Line& line) noexcept {
  remember_notice(line.view());
  if (options().verbose || is_terminal()) emit(line);
}

void emit_error(Line& line, std::string_view hint) noexcept {
  line.add('\n');
  remember_notice(line.view());
  if (!hint.empty()) line.add("mallard: hint: ").add(hint).add('\n');
  emit(line);
}

}  // namespace

void remember_stderr() noexcept {
  struct stat now;
  if (!stat_stderr(&now)) return;
  g_device = now.st_dev;
  g_inode = now.st_ino;
  g_remembered = true;
  char settings[64];  // struct termios of the kernel, which is smaller
  g_is_terminal = S_ISCHR(now.st_mode) && os::call(SYS_ioctl, 2, TCGETS, os::arg(settings)) == 0;
}

void bad_option(const char* variable, const char* value, const char* expected, const char* instead) noexcept {
  Line line;
  constexpr std::size_t kShown = 100;
  const std::string_view given = view_of(value);
  line.add("mallard: error: ").add(view_of(variable)).add("='").add(part_of(given, 0, kShown));
  line.add(given.size() > kShown ? "...' is not " : "' is not ").add(view_of(expected));
  line.add("; ").add(view_of(instead)).add(" is used");
  emit_error(line, {});
}

void unknown_variable(std::string_view name, std::string_view meant) noexcept {
  Line line;
  line.add("mallard: warning: ").add(name).add(" is no variable of mallard; ").add(meant).add(" is\n");
  emit(line);
}

void contradiction(std::string_view what, std::string_view why) noexcept {
  Line line;
  line.add("mallard: warning: ").add(what).add(" has no effect: ").add(why).add('\n');
  emit(line);
}

void refused_to_start() noexcept {
  Line line;
  line.add("mallard: error: not started, because ALLOC_STRICT=1 (exit status 78)");
  emit_error(line, {});
}

void backend_unusable(std::string_view backend, std::string_view why, std::string_view hint) noexcept {
  Line line;
  line.add("mallard: error: backend '").add(backend).add("' cannot be used: ").add(why);
  line.add("; the process runs on system (glibc)");
  emit_error(line, hint);
}

void backend_chosen(std::string_view name, std::string_view version, std::string_view path) noexcept {
  Line line;
  line.add("mallard: allocator ").add(name).add(' ').add(version);
  if (!path.empty()) line.add(" from ").add(path);
  line.add(" serves this process\n");
  emit_notice(line);
}

void bypassed(std::string_view owner) noexcept {
  Line line;
  line.add("mallard: bypassed: malloc of this process belongs to ").add(owner);
  line.add(", which comes before libmallard.so; nothing is recorded for it\n");
  emit_notice(line);
}

void taken_over(std::string_view what, bool observed, std::size_t entries) noexcept {
  Line line;
  line.add("mallard: ").add(what).add(" inside the executable ");
  line.add(observed ? "serves, and is observed: " : "is taken over: ").add_unsigned(entries);
  line.add(" entry points\n");
  emit_notice(line);
}

void not_taken_over(std::string_view what, bool observed, std::string_view why, std::string_view hint) noexcept {
  Line line;
  line.add("mallard: error: ").add(what.empty() ? "the executable" : what);
  line.add(what.empty() ? " is not examined: "
           : observed   ? " inside the executable is not observed: "
                        : " inside the executable is not taken over: ");
  line.add(why);
  line.add("; it goes on by itself, and mallard does not see its memory");
  emit_error(line, hint);
}

void jemalloc_calls_not_led(std::string_view serves) noexcept {
  Line line;
  line.add(
      "mallard: error: calls of mallocx and its kin still lead to the program's own jemalloc: the kernel "
      "does ");
  line.add("not let their slots be written; blocks may cross between it and ").add(serves);
  emit_error(line, "leave out ALLOC_BACKEND: then that jemalloc serves malloc, too");
}

void sanitizer_present() noexcept {
  Line line;
  line.add("mallard: a sanitizer runs in this process and owns malloc; mallard steps aside\n");
  emit_notice(line);
}

void misaligning_backend(std::string_view version) noexcept {
  Line line;
  line.add("mallard: warning: mimalloc ").add(version);
  line.add(" misaligns some aligned requests; they are repaired, at the cost of larger blocks\n");
  emit_notice(line);
}

void deepbind_cleared() noexcept {
  Line line;
  line.add(
      "mallard: dlopen goes on without RTLD_DEEPBIND: the object would allocate from libc's heap, and "
      "others ");
  line.add("free its blocks (ALLOC_KEEP_DEEPBIND=1 keeps the flag)\n");
  emit_notice(line);
}

void text_not_patched(std::string_view why) noexcept {
  Line line;
  line.add("mallard: calls go through a table (about 1 ns more per call): ").add(why).add('\n');
  emit_notice(line);
}

void nothing_recorded() noexcept {
  Line line;
  line.add("mallard: warning: no address space for the books (ulimit -v); nothing is recorded, the process ");
  line.add("goes on\n");
  emit_notice(line);
}

void exact_unusable(std::string_view why) noexcept {
  Line line;
  line.add("mallard: error: exact mode cannot be used: ").add(why).add("; sample mode goes on");
  emit_error(line, {});
}

void latency_unusable(std::string_view why) noexcept {
  Line line;
  line.add("mallard: error: calls cannot be timed: ").add(why).add("; the program goes on without");
  emit_error(line, {});
}

void out_of_boot_memory() noexcept {
  static constinit bool said = false;  // init is single-threaded
  if (said) return;
  said = true;
  Line line;
  line.add("mallard: error: no memory for the calls before the backend is loaded\n");
  emit(line);
}

void no_bad_alloc() noexcept {
  Line line;
  line.add("mallard: error: operator new failed, and no libstdc++ is there to throw std::bad_alloc\n");
  emit(line);
}

std::string_view last_failure() noexcept { return view_of(g_failure.text); }

void report_written(std::string_view path_without_extension) noexcept {
  Line line;
  line.add("mallard: wrote ").add(path_without_extension).add(".txt (and .json)\n");
  emit_notice(line);
}

void report_elsewhere(std::string_view wanted, std::string_view why, std::string_view instead) noexcept {
  Line line;
  line.add("mallard: warning: '").add(wanted).add("' cannot be written: ").add(why);
  line.add("; trying ").add(instead).add('\n');
  emit_notice(line);
}

void report_failed(std::string_view path, std::string_view why) noexcept {
  Line line;
  line.add("mallard: error: report '").add(path).add("' cannot be written: ").add(why);
  remember_failure(part_of(line.view(), kErrorWords.size()));
  line.add("; the process goes on");
  emit_error(line, "set ALLOC_REPORT to a path pattern in a directory with space that the process may write");
}

void interval_ended(unsigned reports) noexcept {
  Line line;
  line.add("mallard: ALLOC_INTERVAL has asked for ").add_unsigned(reports);
  line.add(" reports, and asks for no more; the signal still does\n");
  emit_notice(line);
}

void reporter_not_started(std::string_view why) noexcept {
  Line line;
  line.add("mallard: error: no report: the reporter thread cannot be started: ").add(why);
  remember_failure(part_of(line.view(), kErrorWords.size() + std::string_view("no report: ").size()));
  emit_error(line, "send the signal again");
}

std::string_view error_text(long negated_errno) noexcept {
  switch (-negated_errno) {
    case EACCES:
      return "permission denied";
    case EPERM:
      return "operation not permitted";
    case ENOENT:
      return "no such file or directory";
    case ENOTDIR:
      return "a part of the path is not a directory";
    case EISDIR:
      return "is a directory";
    case EEXIST:
      return "file exists";
    case ELOOP:
      return "symbolic link refused";
    case ENOSPC:
      return "no space left on the device";
    case EDQUOT:
      return "disk quota exceeded";
    case EFBIG:
      return "file too large";
    case EROFS:
      return "read-only file system";
    case EMFILE:
      return "the process has too many open files";
    case ENFILE:
      return "the system has too many open files";
    case ENOMEM:
      return "out of memory";
    case EAGAIN:
      return "resource temporarily unavailable";
    case EIO:
      return "input/output error";
    case ENAMETOOLONG:
      return "name too long";
    case EINVAL:
      return "invalid argument";
    default:
      return "the kernel refused it";
  }
}

}  // namespace mallard::say
