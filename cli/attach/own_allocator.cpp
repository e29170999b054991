// SPDX-License-Identifier: Apache-2.0
#include "cli/attach/own_allocator.hpp"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "arch/code.hpp"
#include "base/arena.hpp"
#include "base/attributes.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "cli/process/target.hpp"
#include "elf/auxiliary_vector.hpp"
#include "elf/image.hpp"
#include "elf/maps.hpp"
#include "elf/modules.hpp"
#include "elf/named_addresses.hpp"
#include "inside/observed_code.hpp"
#include "outside/other_process.hpp"

namespace mallard::cli {
namespace {

constexpr std::uintptr_t kReach = std::uintptr_t{1} << 30;
constexpr double kMomentPatience = 5;      ///< for a moment in which all threads can be stopped
constexpr double kBetweenMoments = 0.002;  ///< two such attempts, at least
constexpr double kRest = 10;              ///< for how many times as long as an attempt took the program runs before the next
constexpr std::uint32_t kMostChanges = inside::kMaxTakeoverEntries + inside::kMaxInnerBranches;
constexpr std::size_t kAlignment = 64;

std::size_t changes_of(const inside::TakeoverPlan& plan) {
  return static_cast<std::size_t>(std::count_if(plan.entries, plan.entries + plan.count,
                                                [](const inside::TakeoverEntry& e) { return e.displaced > 0; })) +
         plan.inner_count;
}

/// Not the loader itself, which may have been given a program to run, and has a malloc for itself.
bool has_interpreter(const std::string& path) {
  elf::Image image;
  if (!image.open(path.c_str()) || image.parse() != elf::Fault::kNone) return false;
  const auto segments = image.segments();
  return std::any_of(segments.begin(), segments.end(), [](const Elf64_Phdr& p) { return p.p_type == PT_INTERP; });
}

/// Where the parts of the room begin.
struct Layout {
  explicit Layout(const inside::TakeoverPlan& plan)
      : code(align_up(sizeof(RoomHeader) + changes_of(plan) * sizeof(CodeChange), kAlignment)),
        observed(align_up(code + inside::ObservedCode::bytes_for(plan), kAlignment)),
        end(align_up(observed + plan.count * sizeof(inside::Observed), kPageBytes)) {}
  std::size_t code, observed, end;
};

}  // namespace

OwnAllocator::OwnAllocator(int pid) : pid_(pid), plan_(std::make_unique<inside::TakeoverPlan>()) {
  const Descriptor file(open(fmt::format("/proc/{}/exe", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return;
  if (!has_interpreter(fmt::format("/proc/{}/exe", pid))) return;
  inside::plan_takeover(file.get(), EmbeddedAction::kObserve, plan_.get());
  if (!is_there()) return;
  const outside::OtherProcess process(pid);
  Arena arena;
  elf::Modules modules;
  modules.read(arena, process);
  const std::uintptr_t entry = elf::auxiliary_value(process, AT_ENTRY);
  for (const elf::Module& m : modules.all())
    if (m.kind == elf::ModuleKind::kElf && entry >= m.span_begin && entry < m.span_end) {
      bias_ = m.load_bias;
      elf::NamedAddress malloc[] = {{"malloc"}};
      has_malloc_ = elf::find_addresses(m, process, malloc) == 1;
      return;
    }
  refuse("where its code lies in memory was not found");
}

bool OwnAllocator::refuse(const char* why) const {
  plan_->answer = inside::TakeoverAnswer::kRefused;
  plan_->why.clear();
  plan_->why.add(view_of(why));
  plan_->next.clear();
  return false;
}

std::uint32_t OwnAllocator::entry_points() const {
  return static_cast<std::uint32_t>(changes_of(*plan_) - plan_->inner_count);
}

std::string OwnAllocator::kinds() const {
  FixedText<64> kinds;
  inside::add_kinds(kinds, *plan_);
  return kinds.size() == 0 ? "the allocator" : std::string(kinds.view());
}

std::vector<CodeSpan> OwnAllocator::functions() const {
  std::vector<CodeSpan> all;
  for (const inside::CodeRange& r : std::span(plan_->own, plan_->own_count))
    all.push_back({r.begin + bias_, r.end + bias_});
  return all;
}

std::uintptr_t OwnAllocator::lowest() const {
  std::uint64_t least = ~std::uint64_t{0};
  for (const inside::TakeoverEntry& e : std::span(plan_->entries, plan_->count)) least = std::min(least, e.address);
  for (const inside::InnerBranch& b : std::span(plan_->inner, plan_->inner_count))
    least = std::min(least, b.distance_at);
  return least + bias_;
}

std::uintptr_t OwnAllocator::highest() const {
  std::uint64_t most = 0;
  for (const inside::TakeoverEntry& e : std::span(plan_->entries, plan_->count))
    most = std::max(most, e.address + sizeof e.bytes);
  for (const inside::InnerBranch& b : std::span(plan_->inner, plan_->inner_count))
    most = std::max(most, b.distance_at + sizeof b.distance);
  return most + bias_;
}

CodeSpan OwnAllocator::room() const {
  constexpr std::uintptr_t kStep = 1 << 20, kLowest = 1 << 20;
  const std::size_t bytes = Layout(*plan_).end;
  const std::uintptr_t begin = lowest() & ~(kPageBytes - 1), end = align_up(highest(), kPageBytes);
  if (end - begin > kReach / 2) return {};
  std::vector<CodeSpan> taken;
  std::ifstream maps(fmt::format("/proc/{}/maps", pid_));
  for (std::string line; std::getline(maps, line);)
    if (const std::optional<elf::Mapping> m = elf::parse_mapping(line)) taken.push_back({m->begin, m->end});
  const auto is_free = [&](std::uintptr_t at) {
    return std::none_of(taken.begin(), taken.end(), [&](const CodeSpan& t) {
      return at < t.end + kPageBytes && t.begin < at + bytes + kPageBytes;
    });
  };
  // Below first: above a program lies what brk() will want.
  for (std::uintptr_t away = kStep; away < kReach && begin >= kLowest + away; away += kStep)
    if (is_free(begin - away)) return {begin - away, begin - away + bytes};
  for (std::uintptr_t away = kReach - (end - begin); away > kStep; away -= kStep)
    if (is_free(begin + away)) return {begin + away, begin + away + bytes};
  return {};
}

bool OwnAllocator::fill(const MemoryFile& memory, CodeSpan room, const inside::Watchers& watchers) const {
  const Layout layout(*plan_);
  std::vector<unsigned char> image(layout.end);
  const inside::ObservedCode code(*plan_, bias_, room.begin + layout.code, room.begin + layout.observed);
  std::vector<inside::Observed> observed(plan_->count);
  if (!code.write(watchers, &image[layout.code], observed.data()))
    return refuse("an address that its code uses is out of reach from where it would be moved to");
  std::memcpy(&image[layout.observed], observed.data(), observed.size() * sizeof observed[0]);

  std::vector<CodeChange> changes;
  for (std::size_t i = 0; i < plan_->count; ++i) {
    const inside::TakeoverEntry& e = plan_->entries[i];
    if (e.displaced == 0) continue;
    CodeChange c{e.address + bias_, arch::kJumpBytes, 1, {}, {}};
    std::memcpy(c.own, e.bytes, arch::kJumpBytes);
    if (!arch::write_jump(c.watched, c.at, code.watched_at(i))) return refuse("there is no room within its reach");
    changes.push_back(c);
  }
  for (const inside::InnerBranch& b : std::span(plan_->inner, plan_->inner_count)) {
    CodeChange c{b.distance_at + bias_, sizeof b.distance, 0, {}, {}};
    std::memcpy(c.own, &b.distance, sizeof b.distance);
    const auto distance = static_cast<std::uint32_t>(code.displaced_at(b.entry) - (c.at + sizeof b.distance));
    std::memcpy(c.watched, &distance, sizeof distance);
    changes.push_back(c);
  }
  RoomHeader header{};
  std::memcpy(header.mark, kRoomMark, sizeof kRoomMark);
  header.bytes = sizeof header + sizeof(CodeChange);
  header.changes = static_cast<std::uint32_t>(changes.size());
  header.entry_points = entry_points();
  std::memcpy(&image[sizeof header], changes.data(), changes.size() * sizeof changes[0]);
  // The header last: it says that all the rest is there.
  return (memory.write(room.begin, image.data(), image.size()) && memory.write(room.begin, &header, sizeof header)) ||
         refuse("the system does not let code be made");
}

bool is_filled(const MemoryFile& memory, std::uint64_t room) {
  char mark[sizeof kRoomMark];
  return memory.read(room, &mark) && std::memcmp(mark, kRoomMark, sizeof mark) == 0;
}

namespace {

/// \return empty, or why they cannot be relied on
std::string read_changes(const MemoryFile& memory, std::uint64_t room, std::vector<CodeChange>* out) {
  RoomHeader header{};
  if (!memory.read(room, &header) || std::memcmp(header.mark, kRoomMark, sizeof kRoomMark) != 0 ||
      header.bytes != sizeof header + sizeof(CodeChange) || header.changes > kMostChanges)
    return "what was put beside its code is of another build";
  out->resize(header.changes);
  if (!memory.read(room + sizeof header, out->data(), out->size() * sizeof(CodeChange)))
    return "what was put beside its code cannot be read";
  return {};
}

/// Leaves out those that are as they are to be. \return empty, or why the others cannot be relied on
std::string leave_out_done(const MemoryFile& memory, Lead where, std::vector<CodeChange>* changes) {
  std::vector<CodeChange> left;
  for (const CodeChange& c : *changes) {
    unsigned char now[CodeChange::kMost];
    if (c.bytes > sizeof now || !memory.read(c.at, now, c.bytes)) return "its code cannot be read";
    const bool is_own = std::memcmp(now, c.own, c.bytes) == 0, is_watched = std::memcmp(now, c.watched, c.bytes) == 0;
    if (!is_own && !is_watched)
      return "its code in memory differs from its file: a debugger or another tool has changed it";
    if (where == Lead::kBack ? !is_own : !is_watched) left.push_back(c);
  }
  *changes = std::move(left);
  return {};
}

/// Behind the first byte of each jump: where a thread would go on with half of it.
std::vector<CodeSpan> within_jumps(const std::vector<CodeChange>& changes) {
  std::vector<CodeSpan> spans;
  for (const CodeChange& c : changes)
    if (c.is_entry) spans.push_back({c.at + 1, c.at + c.bytes});
  std::sort(spans.begin(), spans.end(), [](const CodeSpan& a, const CodeSpan& b) { return a.begin < b.begin; });
  return spans;
}

}  // namespace

std::string lead(int pid, pid_t borrowed, const MemoryFile& memory, std::uint64_t room, Lead where) {
  std::vector<CodeChange> changes;
  if (std::string why = read_changes(memory, room, &changes); !why.empty()) return why;
  if (std::string why = leave_out_done(memory, where, &changes); !why.empty()) return why;
  if (changes.empty()) return {};
  // Where a jump stands, no thread can be behind its first byte.
  const std::vector<CodeSpan> spans = where == Lead::kToWatchers ? within_jumps(changes) : std::vector<CodeSpan>();
  Standstill all(pid, borrowed);
  for (double began = now_seconds(), until = began + kMomentPatience; !all.begin(spans); began = now_seconds()) {
    const double now = now_seconds();
    if (now > until || is_gone(pid)) return "within 5 s it could not be stopped for it: " + all.why();
    usleep(static_cast<useconds_t>(1e6 * std::max(kBetweenMoments, kRest * (now - began))));
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const CodeChange& c = changes[i];
    if (memory.write(c.at, where == Lead::kBack ? c.own : c.watched, c.bytes)) continue;
    while (i-- > 0)
      memory.write(changes[i].at, where == Lead::kBack ? changes[i].watched : changes[i].own, changes[i].bytes);
    return "the system does not let its code be changed";
  }
  return {};
}

}  // namespace mallard::cli
