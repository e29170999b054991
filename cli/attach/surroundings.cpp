// SPDX-License-Identifier: Apache-2.0
#include "cli/attach/surroundings.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "arch/elf.hpp"
#include "arch/frames.hpp"
#include "base/arena.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/attached.hpp"
#include "cli/process/process.hpp"
#include "cli/process/target.hpp"
#include "elf/auxiliary_vector.hpp"
#include "elf/image.hpp"
#include "elf/maps.hpp"
#include "elf/modules.hpp"
#include "elf/named_addresses.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {
namespace {

/// What dlopen and the object's start need of a stack, several times over.
constexpr std::uintptr_t kStackRoom = 96 << 10;
/// How much of a stack is searched where it cannot be unwound.
constexpr std::size_t kStackLookedAt = 1 << 20;
constexpr long kEpollPwait2 = 441;  // older headers lack it

/// Functions of libc's that hold a lock while they call what may wait, or change what a borrowed thread
/// needs.
constexpr std::string_view kNeverInside[] = {"dl_iterate_phdr", "dlopen", "dlclose", "dlsym",
                                             "dlvsym",          "fork",   "exit",    "malloc",
                                             "calloc",          "free",   "realloc"};

bool is_loader(std::string_view path) {
  const std::string_view file = path.substr(path.rfind('/') + 1);
  return file.starts_with("ld-linux") || file.starts_with("ld-2.") || file.starts_with("ld.so");
}

bool is_of_libc(std::string_view path) {
  const std::string_view file = path.substr(path.rfind('/') + 1);
  return file.starts_with("libc.so") || file.starts_with("libc-2.") || file.starts_with("libpthread") ||
         file.starts_with("libdl.so") || file.starts_with("libdl-2.") || file == "[vdso]";
}

}  // namespace

bool is_patient_call(const arch::StoppedCall& call) {
  switch (call.number) {
    case SYS_read:
    case SYS_readv:
    case SYS_pread64:
    case SYS_accept:
    case SYS_accept4:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case kEpollPwait2:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_restart_syscall:
    case SYS_flock:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_msgrcv:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
    case SYS_mq_timedreceive:
      return true;
    case SYS_recvfrom:  // which would give a part of what it was to wait for
      return (call.arguments[3] & MSG_WAITALL) == 0;
    case SYS_recvmsg:
      return (call.arguments[2] & MSG_WAITALL) == 0;
    case SYS_futex:  // malloc's and the loader's locks wait for the value 2
      return (call.arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET ||
             ((call.arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT && call.arguments[2] != 2);
    default:
      return false;
  }
}

Surroundings::Surroundings(int pid, const OwnAllocator& own) : pid_(pid) {
  find_functions(own);
  sort_never();
  report_modules();
}

/// An allocator in the executable counts by its functions. Where some may have no names, the program may be borrowed
/// from only where it waits.
void Surroundings::add_own(const OwnAllocator& own, const Range& code) {
  for (const CodeSpan& f : own.functions()) never_.push_back({f.begin, f.end});
  if (own.has_malloc() && own.is_stripped()) busy_.push_back(code);
}

void Surroundings::sort_never() {
  std::sort(never_.begin(), never_.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> apart;
  for (const Range& r : never_)
    if (apart.empty() || r.begin > apart.back().end) apart.push_back(r);
    else apart.back().end = std::max(apart.back().end, r.end);
  never_ = std::move(apart);
}

bool Surroundings::is_never(std::uintptr_t pc) const {
  const auto above = std::upper_bound(never_.begin(), never_.end(), pc,
                                      [](std::uintptr_t a, const Range& r) { return a < r.begin; });
  return above != never_.begin() && std::prev(above)->holds(pc);
}

void Surroundings::find_functions(const OwnAllocator& own) {
  const outside::OtherProcess process(pid_);
  Arena arena;
  elf::Modules modules;
  modules.read(arena, process);
  const std::uintptr_t entry = elf::auxiliary_value(process, AT_ENTRY);
  const std::uint64_t door = find_door(MemoryFile(pid_));
  bool has_loader = false;
  std::uintptr_t is_glibc = 0;
  for (const elf::Module& m : modules.all()) {
    const Range code{m.begin, m.end};
    if (is_loader(m.path)) {
      has_loader = true;
      loader_data_ = {m.data_begin, m.span_end};
      never_.push_back(code);
      busy_.push_back(code);
      continue;
    }
    if (m.kind != elf::ModuleKind::kElf) continue;
    elf::NamedAddress allocator[] = {{"malloc_usable_size"}, {"gnu_get_libc_version"}};
    elf::find_addresses(m, process, allocator);
    const bool is_libc = allocator[1].address != 0;
    const bool has_door = door >= m.data_begin && door < m.span_end;  // what an earlier attach has loaded
    const bool is_program = entry >= m.span_begin && entry < m.span_end;
    if (is_program && own.is_possible()) add_own(own, code);
    else if (is_libc || is_of_libc(m.path)) busy_.push_back(code);
    else if (allocator[0].address != 0 || has_door) never_.push_back(code);
    if (!is_libc && !is_of_libc(m.path)) continue;
    elf::NamedAddress wanted[] = {{"dlopen"}, {"syscall"}};
    elf::find_addresses(m, process, wanted);
    std::uintptr_t* places[] = {&dlopen, &system_call};
    for (std::size_t i = 0; i < std::size(places); ++i)
      if (*places[i] == 0) *places[i] = wanted[i].address;
    if (!is_libc) continue;
    is_glibc = allocator[1].address;
    find_restorer(code);
    find_variables(m, process);
    for (const std::string_view name : kNeverInside) {
      elf::NamedAddress one[] = {{name}};
      if (elf::find_addresses(m, process, one) == 1 && one[0].bytes != 0)
        never_.push_back({one[0].address, one[0].address + one[0].bytes});
    }
  }
  if (is_gone(pid_)) throw Error(kUnreadable, fmt::format("process {} has ended", pid_));
  if (!has_loader || is_glibc == 0)
    throw Error(kUnreadable,
                fmt::format("process {} does not use glibc's loader: nothing can be loaded into it", pid_),
                fmt::format("it is static, or uses musl; 'mallard inspect {}' looks at it as it is", pid_));
  if (dlopen == 0 || errno_place == 0 || system_call == 0 || restorer == 0)
    throw Error(kUnreadable, fmt::format("process {} has no dlopen that could be called", pid_),
                "libdl.so.2 is not loaded, or libc is stripped of its names");
}

/// The loader has put the places of libc's variables into slots: any of them tells where libc's lie.
void Surroundings::find_variables(const elf::Module& libc, const ProcessMemory& process) {
  elf::NamedAddress variables[] = {{"errno"}, {"__libc_dlerror_result"}};
  elf::find_addresses(libc, process, variables);
  Arena arena;
  elf::Image image;
  if (variables[0].address == 0 || !elf::open_module(libc, arena, &image, process) ||
      image.parse() != elf::Fault::kNone)
    return;
  const elf::Dynamic dynamic = image.read_dynamic();
  for (std::uint64_t at = 0; at < dynamic.relocation_bytes; at += sizeof(Elf64_Rela)) {
    Elf64_Rela r;
    std::uint64_t place = 0;
    if (!image.read_address(dynamic.relocations + at, &r, sizeof r)) return;
    if (ELF64_R_TYPE(r.r_info) != arch::kThreadPlaceRelocation || ELF64_R_SYM(r.r_info) != 0 ||
        !process.get(libc.load_bias + r.r_offset, &place))
      continue;
    const std::uintptr_t first = place - static_cast<std::uint64_t>(r.r_addend);
    errno_place = first + (variables[0].address - libc.load_bias);
    if (variables[1].address != 0) failure_place = first + (variables[1].address - libc.load_bias);
    return;
  }
}

/// libc's own, which every handler of a signal returns to.
void Surroundings::find_restorer(const Range& code) {
  std::vector<unsigned char> bytes(code.end - code.begin);
  const outside::OtherProcess process(pid_);
  for (std::size_t at = 0; at < bytes.size(); at += kPageBytes)  // there may be holes
    process.copy(bytes.data() + at, code.begin + at, std::min<std::size_t>(kPageBytes, bytes.size() - at));
  for (std::size_t at = 0; at + arch::kSignalReturnBytes <= bytes.size(); ++at)
    if (arch::is_signal_return(&bytes[at])) {
      restorer = code.begin + at;
      return;
    }
}

/// Before a thread is stopped, so that it stands still for a short time.
void Surroundings::report_modules() {
  objects_.emplace(read_process(pid_));
  if (!objects_->get()) return;
  dwfl_getmodules(
      objects_->get(),
      [](Dwfl_Module* module, void**, const char*, Dwarf_Addr, void*) {
        GElf_Addr bias = 0;
        dwfl_module_eh_cfi(module, &bias);
        return static_cast<int>(DWARF_CB_OK);
      },
      nullptr, 0);
  dwfl_linux_proc_attach(objects_->get(), pid_, true);
}

/// Whether it is outside of code that may hold locks, or only waits there.
bool Surroundings::is_at_rest(const arch::GeneralRegisters& registers) const {
  const std::uintptr_t pc = arch::code_address(registers);
  if (is_never(pc)) return false;
  if (std::none_of(busy_.begin(), busy_.end(), [pc](const Range& r) { return r.holds(pc); })) return true;
  return arch::begins_again(registers) && is_patient_call(arch::stopped_call(registers));
}

bool Surroundings::has_room(std::uintptr_t stack_pointer) const {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid_));
  for (std::string line; std::getline(maps, line);) {
    const std::optional<elf::Mapping> m = elf::parse_mapping(line);
    if (!m || stack_pointer < m->begin || stack_pointer >= m->end) continue;
    return m->path == "[stack]" || stack_pointer - m->begin >= kStackRoom;
  }
  return false;
}

/// Whether a word on its stack leads into code where locks are held, or to the return of a signal's handler,
/// who may have interrupted such code. Words of calls that are over may lie there, too.
bool Surroundings::has_suspect_word(std::uintptr_t stack_pointer) const {
  const outside::OtherProcess process(pid_);
  std::vector<std::uintptr_t> words(kPageBytes / sizeof(std::uintptr_t));
  for (std::uintptr_t at = stack_pointer & ~(kPageBytes - 1); at < stack_pointer + kStackLookedAt;
       at += kPageBytes) {
    if (!process.copy(words.data(), at, kPageBytes)) return false;  // the stack's end
    for (std::size_t i = 0; i < words.size(); ++i)
      if (is_suspect(words[i]) && at + i * sizeof words[0] >= stack_pointer) return true;
  }
  return false;
}

bool Surroundings::is_suspect(std::uintptr_t pc) const {
  return pc == restorer || is_never(pc);
}

bool Surroundings::is_clear(const BorrowedThread& thread) const {
  if (!has_suspect_word(arch::stack_pointer(thread.registers()))) return true;
  struct Walk {
    const Surroundings* self;
    bool is_clear;
  } walk{this, true};
  Dwfl* const dwfl = objects_->get();
  const int end = !dwfl ? -1
                         : dwfl_getthread_frames(
                               dwfl, thread.thread(),
                               [](Dwfl_Frame* frame, void* to) {
                                 auto* w = static_cast<Walk*>(to);
                                 Dwarf_Addr pc = 0;
                                 if (!dwfl_frame_pc(frame, &pc, nullptr)) return -1;
                                 w->is_clear = w->is_clear && !w->self->is_suspect(pc);
                                 return static_cast<int>(DWARF_CB_OK);
                               },
                               &walk);
  return end == 0 && walk.is_clear;
}

bool Surroundings::may_borrow(const BorrowedThread& thread) const {
  return is_at_rest(thread.registers()) && has_room(arch::stack_pointer(thread.registers())) &&
         is_clear(thread);
}

bool Surroundings::may_stop_waiting(std::uintptr_t word, pid_t thread) const {
  if (!loader_data_.holds(word)) return false;
  // A mutex of glibc's: the lock's word, how often it is taken, by which thread.
  struct {
    std::uint32_t lock, count, owner;
  } mutex{};
  const outside::OtherProcess process(pid_);
  std::vector<std::uint32_t> words((loader_data_.end - loader_data_.begin) / sizeof(std::uint32_t));
  if (!process.copy(words.data(), loader_data_.begin, words.size() * sizeof words[0])) return false;
  for (std::size_t i = 0; i + 2 < words.size(); ++i) {
    std::memcpy(&mutex, &words[i], sizeof mutex);
    if (mutex.owner == static_cast<std::uint32_t>(thread) && mutex.count >= 1 &&
        (mutex.lock == 1 || mutex.lock == 2))
      return false;
  }
  return true;
}

}  // namespace mallard::cli
