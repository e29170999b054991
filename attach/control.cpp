// SPDX-License-Identifier: Apache-2.0
// What a borrowed thread is sent to do: begin to record, in one mode or another, and leave. Nothing runs when
// the object is loaded, and it is never unloaded: after it has left, it lies there until the next time.
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "attach/door.hpp"
#include "attach/duties.hpp"
#include "attach/loader_calls.hpp"
#include "attach/locked.hpp"
#include "attach/slots.hpp"
#include "attach/watched_calls.hpp"
#include "base/options.hpp"
#include "base/os.hpp"
#include "base/text.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/outcome.hpp"
#include "record/exact/exact.hpp"
#include "record/published.hpp"
#include "record/record.hpp"

extern "C" {
__attribute__((visibility("hidden"))) void mallard_attach_control() noexcept;
__attribute__((visibility("hidden"))) void mallard_attached_look_again() noexcept;
/// Not 0: this thread has opened an object since it last looked for slots (arch's attached_loader.S).
__attribute__((visibility("hidden"), tls_model("initial-exec"))) constinit __thread int mallard_has_opened =
    0;
constinit RealDlopen* mallard_attached_real_dlopen = nullptr;
constinit RealDlsym* mallard_attached_real_dlsym = nullptr;
__attribute__((visibility("hidden"))) extern mallard::AttachDoor mallard_attach_door;
}

namespace mallard::attach {

constinit WipedByFork wiped_by_fork{};

namespace {

constexpr const char* kNoLock = "the loader's lock cannot be taken: dlsym does not find this object";
constexpr const char* kForked =
    "it was forked off a process that was attached to: what it has of the books is half written";
constexpr const char* kNoBooks = "the kernel gave no address space for the books";
constexpr const char* kNoRoom =
    "the system gave no memory for code near its own (MemoryDenyWriteExecute and SELinux may forbid it)";
constexpr const char* kNoWipe = "the kernel cannot end recording in forked children (Linux 4.14 can)";

constinit Mode g_mode = Mode::kOff;

bool is_on() noexcept { return g_mode != Mode::kOff; }

void put_in_force(Mode to) noexcept {
  const std::uint32_t before = duties(), after = record::duties_of(to);
  wiped_by_fork.duties.store(record::duties_between(before, after));
  wiped_by_fork.duties.store(after);
  g_mode = to;
}

const char* prepare() noexcept {
  static constinit bool is_prepared = false;
  if (is_prepared) return nullptr;
  constexpr long kWipeOnFork = 18;  // MADV_WIPEONFORK
  if (os::call(SYS_madvise, os::arg(&wiped_by_fork), sizeof wiped_by_fork, kWipeOnFork) != 0) return kNoWipe;
  Options options;
  options.signal = 0;  // nothing of the host's signals is touched
  options.mode = Mode::kOff;
  set_options(options);
  mallard_published.mode_at = address_of(&g_mode);
  TextBuffer(mallard_published.version, sizeof mallard_published.version).add(view_of(MALLARD_VERSION));
  is_prepared = true;
  return nullptr;
}

/// Puts the books in order for another mode. \return nullptr, or why it stays as it is
const char* begin_books(Mode to) noexcept {
  if (to == Mode::kExact && !record::exact_prepare()) return kNoBooks;
  if (!is_on() && !record::resume(options().sample_bytes)) return kNoBooks;
  if (to == Mode::kExact) record::exact_begin(false);
  return nullptr;
}

void note_observed(bool is_on) noexcept {
  const AttachDoor& door = mallard_attach_door;
  inside::TakeoverOutcome outcome;
  if (is_on && door.entry_points > 0) {
    outcome.state = inside::TakeoverState::kObserved;
    outcome.entry_points = door.entry_points;
    static_assert(sizeof outcome.what == sizeof door.observed);
    memcpy(outcome.what, door.observed, sizeof door.observed);
  }
  inside::set_takeover_outcome(outcome);
}

void note(const Slots& slots, const link_map* allocator) noexcept {
  AttachDoor& door = mallard_attach_door;
  door.slots = slots.led;
  door.objects = slots.objects;
  door.elsewhere = slots.elsewhere;
  if (!allocator) return;
  FixedText<sizeof door.allocator> path;
  if (allocator == elf::first_object()) {
    door.allocator[0] = '\0';
    set_serving_backend("executable");
    return;
  }
  path.add(view_of(allocator->l_name));
  memcpy(door.allocator, path.c_str(), path.size() + 1);
  const bool is_libc = allocator == elf::libc_object();
  set_serving_backend(is_libc ? std::string_view("system") : file_name_of(path.view()));
}

/// The loader is locked.
const char* record_locked(Mode mode) noexcept {
  const link_map* allocator = nullptr;
  if (const char* why = prepare()) return why;
  const bool is_watched = mallard_attach_door.entry_points > 0;
  if (const char* why = find_functions(is_watched, &allocator)) return why;
  if (mode != g_mode)
    if (const char* why = begin_books(mode)) return why;
  // Frees are looked for before there is a block to find, and slots lead here before anything is recorded.
  Slots slots;
  if (const char* why = lead_here(Objects::kAll, &slots)) {
    if (mode == Mode::kExact && mode != g_mode) record::exact_end();
    if (!is_on()) record::pause();
    return why;
  }
  const Mode before = g_mode;
  put_in_force(mode);
  if (before == Mode::kExact && mode != before) record::exact_end();
  note(slots, allocator);
  note_observed(true);
  mallard_attach_door.is_on = 1;
  mallard_attach_door.owner = static_cast<std::uint32_t>(os::process_id());
  return nullptr;
}

const char* leave_locked() noexcept {
  const Mode before = g_mode;
  put_in_force(Mode::kOff);
  Slots slots;
  lead_back(&slots);
  note(slots, nullptr);
  note_observed(false);
  if (before == Mode::kExact) record::exact_end();
  if (before != Mode::kOff) record::pause();
  mallard_attach_door.is_on = 0;
  return nullptr;
}

/// Whether this process is a child of one that was attached to, which has half of its parent's books.
bool is_forked() noexcept {
  const AttachDoor& door = mallard_attach_door;
  return door.owner != 0 && door.owner != static_cast<std::uint32_t>(os::process_id());
}

const char* make_room(const AttachDoor& door) noexcept {
  return os::map_code_at(door.code_at, door.code_bytes) ? nullptr : kNoRoom;
}

void act(void*) noexcept {
  AttachDoor& door = mallard_attach_door;
  const char* why = nullptr;
  if (door.action == AttachAction::kMakeRoom) why = make_room(door);
  else if (door.action == AttachAction::kLeave) why = leave_locked();
  else why = is_forked() ? kForked : record_locked(door.mode);
  FixedText<sizeof door.why> text;
  if (why) text.add(view_of(why));
  memcpy(door.why, text.c_str(), text.size() + 1);
  door.outcome = why ? AttachOutcome::kRefused : AttachOutcome::kDone;
}

void look_again(void*) noexcept {
  Slots slots;
  if (is_on() && duties() != 0) lead_here(Objects::kNew, &slots);
}

}  // namespace
}  // namespace mallard::attach

using namespace mallard;
using namespace mallard::attach;

constinit AttachDoor mallard_attach_door = {
    "mallard's attach: 1", sizeof(AttachDoor), mallard_attach_control, &watchers, 0, 0, "", 0, {}, {}, {}, "", 0, 0, 0, 0, 0, ""};

extern "C" {

void mallard_attach_control() noexcept {
  AttachDoor& door = mallard_attach_door;
  if (with_loader_locked(act, nullptr)) return;
  FixedText<sizeof door.why> text;
  text.add(view_of(kNoLock));
  memcpy(door.why, text.c_str(), text.size() + 1);
  door.outcome = AttachOutcome::kRefused;
}

void mallard_attached_look_again() noexcept {
  mallard_has_opened = 0;
  if (duties() != 0) with_loader_locked(look_again, nullptr);
}
}
