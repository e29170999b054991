// SPDX-License-Identifier: Apache-2.0
#include "cli/attach/attached_object.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "cli/attach/borrowed_thread.hpp"
#include "cli/attach/seccomp_filter.hpp"
#include "cli/attach/surroundings.hpp"
#include "cli/check/check_result.hpp"
#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/attached.hpp"
#include "cli/process/memory_file.hpp"
#include "cli/process/process.hpp"
#include "cli/process/target.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {
namespace {

constexpr double kPatience = 5;          ///< for a thread in a safe place
constexpr double kRefusedSeconds = 1;    ///< while the kernel lets no thread be stopped
constexpr double kCallSeconds = 0.5;     ///< for a call, before it is asked what it waits for
constexpr double kLastSeconds = 20;      ///< for a call that cannot be taken back
constexpr int kTries = 8;                ///< where others keep the loader's lock
constexpr useconds_t kBetween = 50'000;  ///< two of these
constexpr useconds_t kPause = 5'000;     ///< between two looks at all threads

std::string object_path() {
  std::filesystem::path path = library_path();
  return path.replace_filename("libmallard-attach.so").string();
}

/// What the thread does at the moment, as the kernel tells without stopping it. \return false if it is in a
/// call that a stop could cut short
bool may_be_stopped(int pid, pid_t thread, bool also_running) {
  std::string words;
  if (!read_whole(fmt::format("/proc/{}/task/{}/syscall", pid, thread), &words)) return false;
  if (words.starts_with("running")) return also_running;
  arch::StoppedCall call;
  unsigned long a[6] = {};
  if (std::sscanf(words.c_str(), "%ld %lx %lx %lx %lx %lx %lx", &call.number, &a[0], &a[1], &a[2], &a[3],
                  &a[4], &a[5]) != 7)
    return false;
  std::copy_n(a, 6, call.arguments);
  return is_patient_call(call);
}

/// Others keep the loader's lock, and the thread was let go.
struct LoaderIsBusy {};

/// What is said of a process that is not recorded: that it is as it was or, where entry points were changed and nothing
/// could change them back, that.
Error refusal(int pid, const std::string& who, const std::string& why, const std::string& hint) {
  const std::optional<AttachDoor> door = read_door(pid);
  if (door && door->is_on == 0 && door->entry_points != 0)
    return Error(kUnreadable,
                 fmt::format("{} is not recorded, but its allocator's entry points lead to what was loaded, which "
                             "hands the calls on: {}",
                             who, why),
                 fmt::format("mallard detach {}", pid));
  return Error(kUnreadable, fmt::format("{} is left as it is: {}", who, why), hint);
}

/// One borrowing, by one thread of this command: the tracer.
class Errand {
 public:
  Errand(int pid, const std::string& who, const OwnAllocator& own, AttachAction action, Mode mode)
      : pid_(pid), who_(who), own_(own), action_(action), mode_(mode), around_(pid, own), memory_(pid, true) {}

  AttachDoor run() {
    thread_ = borrow();
    check_filters();
    if (!thread_->prepare(around_.restorer))
      fail("the stack of the thread that was stopped cannot be written");
    const std::uintptr_t error_at = variable(around_.errno_place);
    int error = 0;
    if (!memory_.read(error_at, &error)) fail("libc does not say where its errno is");
    door_at_ = find_door(memory_);
    if (door_at_ == 0) load();
    if (action_ == AttachAction::kRecord && own_.is_possible()) watch();
    const AttachDoor door = ask(action_);
    if (door.is_on == 0) end_watch(door);
    memory_.write(error_at, &error, sizeof error);
    thread_->let_go();
    return door;
  }

 private:
  [[noreturn]] void fail(const std::string& why, const std::string& hint = {}) const {
    throw refusal(pid_, who_, why, hint);
  }

  std::unique_ptr<BorrowedThread> borrow() {
    const double began = now_seconds();
    // Threads that wait come first: stopping them costs the host nothing.
    for (bool also_running = false; now_seconds() - began < kPatience; also_running = true) {
      bool refused = false;
      for (const pid_t thread : threads_of(pid_)) {
        if (!may_be_stopped(pid_, thread, also_running)) continue;
        auto candidate = std::make_unique<BorrowedThread>(pid_, thread);
        const BorrowedThread::Stop stop = candidate->stop();
        refused = refused || stop == BorrowedThread::Stop::kRefused;
        if (stop == BorrowedThread::Stop::kStopped && around_.may_borrow(*candidate)) return candidate;
      }
      // Another command that was ended a moment ago may still be letting go.
      if (refused && now_seconds() - began > kRefusedSeconds)
        fail("the kernel did not let this command stop its threads", "run it by sudo");
      if (is_gone(pid_)) fail("it has ended");
      usleep(kPause);
    }
    fail("within 5 s no thread of it was where it could be borrowed: in no lock, no loader and no allocator",
         "try again when it is less busy");
  }

  void check_filters() {
    if (seccomp_of(pid_) == Seccomp::kNone) return;
    if (seccomp_of(pid_) == Seccomp::kStrict)
      fail("it is in seccomp's strict mode, where any call would end it");
    std::vector<std::vector<sock_filter>> filters;
    if (!read_filters(thread_->thread(), &filters))
      fail("it has a seccomp filter, and what that would do cannot be read",
           "root may read it: run it by sudo");
    if (const std::string call = fatal_call(filters); !call.empty())
      fail(fmt::format("its seccomp filter would end it for {}", call));
  }

  /// A call that must end, if only because it waits for no lock that another thread keeps.
  void wait_for(BorrowedThread::End end) {
    using End = BorrowedThread::End;
    if (end == End::kWaitsTooLong) {
      const std::uintptr_t word = thread_->lock_waited_for();
      if (word != 0 && around_.may_stop_waiting(word, thread_->thread())) {
        thread_->let_go();
        throw LoaderIsBusy{};
      }
      end = thread_->go_on(kLastSeconds);
    }
    if (end == End::kReturned) return;
    if (end == End::kWaitsTooLong) {
      thread_->lock_waited_for();
      thread_->leave_alone();
      // Neither "left as it is" nor "recorded" would be known to be true.
      throw Error(kUnreadable,
                  fmt::format("what was begun in {} takes longer than {:g} s, and ends by itself", who_,
                              kCallSeconds + kLastSeconds),
                  fmt::format("mallard detach {}, when it is less busy, takes all back", pid_));
    }
    fail(end == End::kGone ? "it ended meanwhile" : "the thread that was borrowed got a signal of a fault");
  }

  void open_object(const std::string& path) {
    const std::uintptr_t text = thread_->put_text(path);
    if (text == 0) return;
    wait_for(thread_->call(around_.dlopen, {text, RTLD_NOW}, kCallSeconds));
    door_at_ = find_door(memory_);
  }

  /// The thread's variable of libc's at that place.
  std::uintptr_t variable(std::uintptr_t place) const {
    return arch::thread_pointer_of(thread_->registers()) + place;
  }

  /// Why the loader did not do it, in its words.
  std::string loader_s_words() {
    // As dl_action_result of glibc has it, since 2.34.
    struct {
      int error;
      char from, was_told, unused[2];
      std::uint64_t object, text;
    } result{};
    std::uint64_t at = 0;
    std::string words;
    char c = 0;
    if (around_.failure_place != 0 && memory_.read(variable(around_.failure_place), &at) &&
        memory_.read(at, &result))
      for (std::size_t i = 0; i < 300 && memory_.read(result.text + i, &c) && c != 0; ++i) words += c;
    return words.empty() ? "the loader did not load what is needed" : printable(words);
  }

  /// By its path where the process sees the same file, else from a file in its memory.
  void load() {
    const std::string path = object_path();
    const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) fail(fmt::format("'{}' cannot be opened: {}", path, std::strerror(errno)));
    struct stat own {
    }, its{};
    if (fstat(file.get(), &own) == 0 && stat(fmt::format("/proc/{}/root{}", pid_, path).c_str(), &its) == 0 &&
        own.st_ino == its.st_ino && own.st_dev == its.st_dev)
      open_object(path);
    if (door_at_ == 0) load_from_memory(file.get(), static_cast<std::size_t>(own.st_size));
    if (door_at_ != 0) return;
    const std::string words = loader_s_words();
    thread_->let_go();
    if (words.find("static TLS") != words.npos) fail("the loader has no room left in its static TLS");
    fail(words);
  }

  void load_from_memory(int file, std::size_t bytes) {
    const std::uintptr_t name = thread_->put_text("libmallard-attach.so");
    const std::optional<std::int64_t> fd =
        thread_->system_call(around_.system_call, {SYS_memfd_create, name, MFD_CLOEXEC});
    if (!fd || *fd < 0) fail("it got no file in memory (memfd_create)");
    {
      const Descriptor copy(open(fmt::format("/proc/{}/fd/{}", pid_, *fd).c_str(), O_WRONLY | O_CLOEXEC));
      std::vector<char> all(bytes);
      if (copy.get() < 0 || pread(file, all.data(), bytes, 0) != static_cast<ssize_t>(bytes) ||
          write(copy.get(), all.data(), bytes) != static_cast<ssize_t>(bytes))
        bytes = 0;
    }
    // By a name that no program writes, which opens files in memory of its own.
    if (bytes != 0) open_object(fmt::format("/proc/self/./fd/./{}", *fd));
    thread_->system_call(around_.system_call, {SYS_close, static_cast<std::uint64_t>(*fd)});
    if (bytes == 0) fail("its file in memory cannot be written");
  }

  AttachDoor read_door() {
    AttachDoor door;
    if (!memory_.read(door_at_, &door) || door.bytes != sizeof door)
      fail("what is loaded in it is of another build", "use the mallard command that came with it");
    return door;
  }

  void write_room(const AttachDoor& door) {
    if (!memory_.write(door_at_ + offsetof(AttachDoor, code_at), &door.code_at,
                       offsetof(AttachDoor, action) - offsetof(AttachDoor, code_at)))
      fail("its memory cannot be written");
  }

  /// A room beside the executable's code, filled in, which stays for good.
  void make_room(AttachDoor* door) {
    const CodeSpan room = own_.room();
    if (room.begin == 0) fail("there is no free memory within 1 GiB of its code");
    door->code_at = room.begin;
    door->code_bytes = room.end - room.begin;
    write_room(*door);
    const AttachDoor answer = ask(AttachAction::kMakeRoom);
    inside::Watchers watchers{};
    const bool is_filled = answer.outcome == AttachOutcome::kDone &&
                           memory_.read(reinterpret_cast<std::uintptr_t>(answer.watchers), &watchers) &&
                           own_.fill(memory_, room, watchers);
    if (is_filled) return;
    AttachDoor none = answer;
    none.code_at = none.code_bytes = 0;
    write_room(none);
    fail(answer.outcome == AttachOutcome::kDone ? own_.why_not() : answer.why);
  }

  /// Has the entry points of the executable's own allocator lead to the object, which hands all calls on until it
  /// records.
  void watch() {
    AttachDoor door = read_door();
    if (door.code_at == 0 || !is_filled(memory_, door.code_at)) make_room(&door);
    const AttachDoor before = door;
    door.entry_points = own_.entry_points();
    const std::string kinds = own_.kinds();
    std::memset(door.observed, 0, sizeof door.observed);
    kinds.copy(door.observed, sizeof door.observed - 1);
    write_room(door);  // first: should this command be killed, detaching finds what may be there
    const std::string why = lead(pid_, thread_->thread(), memory_, door.code_at, Lead::kToWatchers);
    if (why.empty()) return;
    write_room(before);
    fail(why);
  }

  void end_watch(AttachDoor door) {
    if (door.entry_points == 0) return;
    if (const std::string why = lead(pid_, thread_->thread(), memory_, door.code_at, Lead::kBack); !why.empty())
      throw Error(kUnreadable,
                  fmt::format("{} is not recorded any more, but its allocator's entry points still lead to what was "
                              "loaded, which hands the calls on: {}",
                              who_, why),
                  fmt::format("mallard detach {}", pid_));
    door.entry_points = 0;
    write_room(door);
  }

  AttachDoor ask(AttachAction action) {
    AttachDoor door = read_door();
    door.action = action;
    door.mode = mode_;
    door.outcome = AttachOutcome::kNone;
    if (!memory_.write(door_at_ + offsetof(AttachDoor, action), &door.action,
                       offsetof(AttachDoor, why) - offsetof(AttachDoor, action)))
      fail("its memory cannot be written");
    wait_for(thread_->call(reinterpret_cast<std::uintptr_t>(door.control), {}, kCallSeconds));
    if (!memory_.read(door_at_, &door) || door.outcome == AttachOutcome::kNone) fail("it did not answer");
    door.why[sizeof door.why - 1] = door.allocator[sizeof door.allocator - 1] = '\0';
    return door;
  }

  int pid_;
  std::string who_;
  const OwnAllocator& own_;
  AttachAction action_;
  Mode mode_;
  Surroundings around_;
  MemoryFile memory_;
  std::unique_ptr<BorrowedThread> thread_;
  std::uint64_t door_at_ = 0;
};

}  // namespace

AttachDoor act_in(int pid, const std::string& who, const OwnAllocator& own, AttachAction action, Mode mode) {
  AttachDoor door{};
  std::exception_ptr failed;
  // When a thread ends that traces, the kernel lets go of all that it traces: also of what did not stop in
  // time.
  const auto go = [&] {
    failed = nullptr;
    try {
      door = Errand(pid, who, own, action, mode).run();
    } catch (...) {
      failed = std::current_exception();
    }
  };
  for (int i = 0; i < kTries; ++i) {
    std::thread(go).join();
    try {
      if (!failed) return door;
      std::rethrow_exception(failed);
    } catch (const LoaderIsBusy&) {
      usleep(kBetween);
    }
  }
  throw refusal(pid, who, "other threads of it keep the loader's lock", "a dlopen is under way: try again");
}

}  // namespace mallard::cli
